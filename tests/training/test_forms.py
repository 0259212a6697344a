"""Whatever form a network is trained in, the numbers are the same."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import mica
from mica.edgewise.chain import Chain
from mica.rng import torch_seeded
from mica.training.forms import Form, enter
from mica.training.state import TrainState

SHAPE, CLASSES = (3, 8, 8), 5


def network(dropout: nn.Module) -> nn.Module:
    def layer(inputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, 32, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(32), nn.ReLU(), copy.deepcopy(dropout)]

    torch.manual_seed(0)
    tail = [nn.MaxPool2d(4), *layer(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)]
    return nn.Sequential(*layer(3), *layer(32), *tail).double()


def losses(network: nn.Module, x: Tensor, labels: Tensor) -> Iterator[float]:
    """Of three steps in training."""
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    for number in range(3):
        with torch_seeded(number, "dropout"):
            loss = F.cross_entropy(network.train()(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()


def kind(form: Form) -> str:
    if any(isinstance(module, Chain) for module in form.network.modules()):
        return "edge by edge"
    return "compact" if isinstance(form.network, fx.GraphModule) else "plain"


@pytest.mark.parametrize("dropout", [nn.Identity(), nn.Dropout(0.3), nn.Dropout2d(0.3)], ids=repr)
@pytest.mark.parametrize(("ratio", "chosen"), [
    (1.0, "plain"), (2.0, "plain"), (5.0, "edge by edge"), (30.0, "edge by edge"),
])  # fmt: skip
def test_training_is_that_of_the_masked_network(dropout: nn.Module, ratio: float, chosen: str) -> None:
    """What is left, in a network of the usual kind, answers like the one that was masked and trained."""
    model = network(dropout)
    graph = mica.trace(model, SHAPE)
    masks = mica.sparsify(model, "rpi-erk", ratio, 0, graph=graph)
    torch.manual_seed(1)
    x, labels = torch.randn(6, *SHAPE).double(), torch.arange(6) % CLASSES
    usual, left = copy.deepcopy(model), copy.deepcopy(model)
    mica.apply(usual, masks)
    expected, answers = list(losses(usual, x, labels)), usual.eval()(x)
    for smaller in (False, True):
        form = enter(model, graph, TrainState.begin(model, masks), "cpu", smaller=smaller)
        assert kind(form) == (chosen if smaller else "plain")
        assert list(losses(form.network, x, labels)) == pytest.approx(expected, rel=1e-11)
        left.load_state_dict(form.leave().tensors)
        torch.testing.assert_close(left.eval()(x), answers, rtol=1e-10, atol=1e-12)
