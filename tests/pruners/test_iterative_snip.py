"""Iterative SNIP and FORCE against their definitions, step by step in float64; LAMP against plain sums."""

import copy

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.pruning.budgets import target_edges
from tests.oracle import ranking
from tests.pruners.test_ranking_scores import CASES, case, scores

STEPS = 7


def step_by_step(
    loss: ranking.Loss, weights: ranking.Weights, ratio: float, *, recovers: bool
) -> tuple[Tensor, int, float]:
    """The flat mask; how many edges came back on the way; how close (relatively) the closest cut was."""
    parts = [weight.numel() for weight in weights.values()]
    initial = torch.cat([weight.flatten() for weight in weights.values()])
    kept, back, gap = torch.ones_like(initial, dtype=torch.bool), 0, 1.0
    for step in range(1, STEPS + 1):
        flat = (initial * kept).split(parts)
        masked = {n: part.view_as(weights[n]) for n, part in zip(weights, flat, strict=True)}
        slopes = torch.cat([slope.flatten() for slope in ranking.gradient(loss, masked).values()])
        found = (slopes * (initial if recovers else initial * kept)).abs()
        if not recovers:
            found[~kept] = -1
        order = found.sort(descending=True)
        count = target_edges(len(initial), ratio ** (step / STEPS), "floor")
        last, first_out = order.values[count - 1 : count + 1].tolist()
        gap = min(gap, (last - first_out) / last)
        now = torch.zeros_like(kept)
        now[order.indices[:count]] = True
        back, kept = back + int((now & ~kept).sum()), now
    return kept, back, gap


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("pruner", "recovers"), [("iterative_snip", False), ("force", True)])
def test_masks_are_those_of_the_definition(name: str, pruner: str, recovers: bool) -> None:
    model, images, labels, mode, loss = case(name)
    wanted, back, gap = step_by_step(loss, ranking.weights_of(model), 6.0, recovers=recovers)
    assert gap > 1e-9, "choose another network"
    assert (back > 0) == recovers
    found = mica.sparsify(
        copy.deepcopy(model).double(),
        f"rbpi-{pruner}(iterations={STEPS},batch_norm={mode})",
        6.0,
        0,
        input_shape=tuple(images.shape[1:]),
        data=(images.double(), labels),
    )
    assert torch.equal(torch.cat([mask.flatten() for mask in found.values()]), wanted)


@pytest.mark.parametrize("pruner", ["iterative_snip", "force"])
def test_one_step_is_snip(pruner: str) -> None:
    model, images, labels, _, _ = case("conv-eval")
    one, other = (
        mica.sparsify(model, f"rbpi-{name}", 5.0, 0, input_shape=(2, 7, 7), data=(images, labels))
        for name in (f"{pruner}(iterations=1)", "snip")
    )
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("pruner", ["iterative_snip", "force"])
def test_within_layers_each_keeps_its_budget(pruner: str) -> None:
    model, images, labels, _, _ = case("conv-eval")
    method = f"{pruner}(iterations=4)-erk"
    masks = mica.sparsify(model, method, 4.0, 0, input_shape=(2, 7, 7), data=(images, labels))
    random = mica.sparsify(model, "rpi-erk", 4.0, 0, input_shape=(2, 7, 7))
    assert masks.counts() == random.counts()


def test_lamp_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -1.0, 2.0]]))
        model[2].weight.copy_(torch.tensor([[0.0], [0.1], [0.1]]))
    found = scores("lamp", model, torch.zeros(1, 3))
    assert found["0"].tolist() == [[9 / 9, 1 / 14, 4 / 13]]
    # Of two equal weights the later one counts as the larger.
    assert found["2"].flatten().tolist() == pytest.approx([0, 0.5, 1])


def test_lamp_is_what_plain_sums_give() -> None:
    model = case("conv-eval")[0]
    for name, found in scores("lamp", model, torch.zeros(1, 2, 7, 7)).items():
        squares = ranking.weights_of(model)[name].flatten() ** 2
        wanted = [float(square / squares[squares >= square].sum()) for square in squares]
        assert found.flatten().tolist() == pytest.approx(wanted, rel=1e-12)


def test_lamp_leaves_every_layer_an_edge() -> None:
    model = case("mlp")[0]
    nn.init.constant_(model[2].weight, 1e-12)
    masks = mica.sparsify(model, "rbpi-lamp", 92 / 3, 0, input_shape=(7,))
    assert masks.counts() == {"0": 1, "2": 1, "4": 1}
