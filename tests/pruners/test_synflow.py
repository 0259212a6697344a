"""SynFlow on fewer and fewer edges against SynFlow on the whole masked network."""

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.models import build
from mica.pruners import Network, pruners
from mica.pruners.scores import kept_edges
from mica.pruners.scores.scored_network import gradients
from mica.pruners.synflow import Unpruned
from mica.pruning.budgets import target_edges
from tests.oracle.networks import random_masks, random_network

SHAPE = (3, 8, 8)


class Branches(nn.Module):
    """Groups, strides, dilation, an even kernel with `same` padding, biases, a sum and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 2, padding="same")
        self.norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
        self.grouped = nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=3)
        self.strided = nn.Conv2d(24, 16, 3, stride=2, padding="valid")
        self.pool = nn.MaxPool2d(3)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.cat([x, self.depthwise(x) + self.grouped(x)], 1)
        return self.last(self.pool(torch.relu(self.strided(x))).flatten(1))


def plain_scores(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The definition, dense and by autograd."""
    absolute = {name: weight.abs().double().requires_grad_() for name, weight in weights.items()}
    image = torch.ones(1, *network.graph.input_shape, dtype=torch.float64)
    found = gradients(network.absolute_forward(absolute, image).sum(), absolute)
    return {name: absolute[name].detach() * part for name, part in found.items()}


def plain_masks(network: Network, ratio: float) -> tuple[dict[str, Tensor], float]:
    """A hundred iterations, and how close the closest cut between two scores was (relatively)."""
    weights, gap = network.weights(), 1.0
    kept = torch.ones(network.graph.edges, dtype=torch.bool)
    for step in range(1, 101):
        parts = kept.split([weight.numel() for weight in weights.values()])
        masks = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
        scores = plain_scores(network, {name: weight * masks[name] for name, weight in weights.items()})
        flat = torch.cat([score.flatten() for score in scores.values()]).masked_fill(~kept, -1)
        count = target_edges(len(flat), ratio ** (step / 100), "floor")
        order = flat.sort(descending=True, stable=True)
        if count < int(kept.sum()):
            last, first_out = order.values[count - 1 : count + 1].tolist()
            gap = min(gap, (last - first_out) / last if last else 0.0)
        kept = torch.zeros_like(kept)
        kept[order.indices[:count]] = True
    parts = kept.split([weight.numel() for weight in weights.values()])
    return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}, gap


def network_of(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> Network:
    return Network(model=model, graph=mica.trace(model, shape))


@pytest.fixture(params=["dense", "sparse"])
def sooner(request, monkeypatch):
    """Small layers turn sparse like large ones, or never."""
    monkeypatch.setattr(kept_edges, "_SMALL", 0 if request.param == "sparse" else 10**9)


@pytest.mark.parametrize("block", range(4))
def test_scores_are_those_of_the_definition_in_any_network(block: int, sooner) -> None:
    for seed in range(block, 60, 4):
        torch.manual_seed(seed)
        net = random_network(seed)
        network = network_of(net, net.input_shape)
        masks = random_masks(net, seed)
        wanted = plain_scores(network, {n: w * masks[n] for n, w in network.weights().items()})
        remaining = Unpruned(network, network.weights())
        for name, kept in remaining.kept.items():
            kept.copy_(masks[name].flatten())
        for _ in range(2):  # once as they are, once thinned
            found = remaining.scores()
            for name, kept in remaining.kept.items():
                places = masks[name].flatten()
                torch.testing.assert_close(
                    found[name][kept], wanted[name].flatten()[places], rtol=1e-10, atol=0
                )
        assert all(torch.equal(remaining.masks()[n], masks[n].flatten()) for n in masks)


@pytest.mark.parametrize("ratio", [2.0, 10.0, 60.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mask_of_a_network_with_branches_is_the_plain_one(ratio: float, seed: int, sooner) -> None:
    torch.manual_seed(seed)
    model = Branches()
    wanted, gap = plain_masks(network_of(model), ratio)
    assert gap > 1e-12, "a cut between equals, which rounding may put either way: choose another seed"
    found = mica.sparsify(model, "rbpi-synflow", ratio, 0, input_shape=SHAPE)
    assert all(torch.equal(found[name], mask) for name, mask in wanted.items())


@pytest.mark.parametrize("ratio", [30.0, 3000.0])
def test_the_mask_of_resnet20_is_the_plain_one(ratio: float) -> None:
    model = build("resnet20", input_shape=(3, 16, 16), classes=10, seed=0)
    wanted, _ = plain_masks(network_of(model, (3, 16, 16)), ratio)
    found = mica.sparsify(model, "rbpi-synflow", ratio, 0, input_shape=(3, 16, 16))
    assert all(torch.equal(found[name], mask) for name, mask in wanted.items())


def test_large_layers_turn_into_lists_of_edges() -> None:
    model = build("resnet20", input_shape=SHAPE, classes=10, seed=0)
    remaining = Unpruned(network_of(model), network_of(model).weights())
    for kept in remaining.kept.values():
        kept[len(kept) // 20 :] = False
    remaining.scores()
    assert {len(kept) for kept in remaining.kept.values()} >= {36_864 // 20, 10 * 64}


def test_all_scores_of_a_layer_that_signal_does_not_reach_are_zero() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 3), nn.Linear(3, 2))
    for layer in (model[1], model[3], model[4]):
        nn.init.zeros_(layer.bias)
    weights = network_of(model).weights()
    weights["3"] = torch.zeros_like(weights["3"])
    scores = pruners.get("synflow").score(network_of(model), weights)
    assert all(not score.any() for score in scores.values())
