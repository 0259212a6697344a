"""The training protocol: the paper's numbers as defaults, and the learning rate of each epoch."""

import math

import pytest
from pydantic import ValidationError

from mica.training.protocol import Protocol, default_protocol


def rates(protocol: Protocol) -> list[float]:
    return [protocol.lr_at(epoch) for epoch in range(protocol.epochs)]


def test_vgg16_trains_as_in_the_paper() -> None:
    protocol = Protocol(**default_protocol("vgg16", "crop-flip"))
    expected = [0.1] * 60 + [0.01] * 60 + [0.001] * 40
    assert all(math.isclose(*pair) for pair in zip(rates(protocol), expected, strict=True))
    assert (protocol.batch_size, protocol.momentum, protocol.nesterov) == (128, 0.9, True)
    assert (protocol.weight_decay, protocol.augment, protocol.precision) == (1e-4, "crop-flip", "fp32")


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_residual_networks_train_as_in_the_paper(name: str) -> None:
    protocol = Protocol(**default_protocol(name, "none"))
    expected = [0.01] * 60 + [0.002] * 60 + [0.0004] * 40
    assert all(math.isclose(*pair) for pair in zip(rates(protocol), expected, strict=True))
    assert (protocol.weight_decay, protocol.augment) == (5e-4, "none")


def test_drops_keep_their_share_of_a_shorter_training() -> None:
    assert rates(Protocol(epochs=8, lr=1, lr_factor=0.5)) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(Protocol(epochs=3, lr=1, lr_factor=0.5, lr_drops=())) == [1, 1, 1]


@pytest.mark.parametrize("field", [
    {"epochs": -1}, {"epochs": 1.5}, {"batch_size": 0}, {"lr": 0}, {"lr": math.nan}, {"lr": math.inf},
    {"lr_factor": 0}, {"lr_drops": [math.nan]}, {"momentum": 1}, {"weight_decay": -0.1},
    {"weight_decay": math.inf}, {"augment": "mixup"}, {"precision": "fp16"}, {"val_size": 0}, {"epoch": 5},
])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Protocol(**field)
