"""Whatever form a network is trained in, the numbers are the same."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica.rng import torch_seeded
from mica.training.forms import Form, training_form

SHAPE, CLASSES = (3, 8, 8), 5


def network(dropout: nn.Module) -> nn.Module:
    def layer(inputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, 32, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(32), nn.ReLU(), copy.deepcopy(dropout)]

    torch.manual_seed(0)
    tail = [nn.MaxPool2d(4), *layer(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)]
    return nn.Sequential(*layer(3), *layer(32), *tail).double()


def losses(form: Form, x: Tensor, labels: Tensor) -> list[float]:
    """Of three steps in training."""
    optimiser, found = torch.optim.SGD(form.network.parameters(), 0.1), []
    for number in range(3):
        with torch_seeded(number, "dropout"):
            loss = F.cross_entropy(form.network.train()(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    form.write_back()
    return found


@pytest.mark.parametrize("dropout", [nn.Identity(), nn.Dropout(0.3), nn.Dropout2d(0.3)], ids=repr)
@pytest.mark.parametrize("ratio", [1.0, 2.0, 5.0, 30.0])
def test_training_is_that_of_the_masked_network(dropout: nn.Module, ratio: float) -> None:
    """At the first ratio the network itself is trained, at the last one edge by edge."""
    plain = network(dropout)
    masks = mica.sparsify(plain, "rpi-erk", ratio, 0, graph=mica.trace(plain, SHAPE))
    others = [copy.deepcopy(plain) for _ in range(2)]
    torch.manual_seed(1)
    x, labels = torch.randn(6, *SHAPE).double(), torch.arange(6) % CLASSES
    mica.apply(plain, masks)
    expected, answers = losses(Form(plain, lambda: None), x, labels), plain.eval()(x)
    for model, smaller in zip(others, (False, True), strict=True):
        found = losses(training_form(model, masks, SHAPE, "cpu", smaller=smaller), x, labels)
        assert found == pytest.approx(expected, rel=1e-11)
        torch.testing.assert_close(model.eval()(x), answers, rtol=1e-10, atol=1e-12)
