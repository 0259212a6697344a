"""NTK-SAP against its definition: finite differences in float64, on the same draws."""

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.pruners import Network, Ranking, pruners
from mica.pruners.ntk_sap import draws
from tests.pruners.test_ranking_scores import close

EPSILON, STEP = 0.1, 1e-6


def perceptron() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()


def change(model: nn.Sequential, masks: dict[str, Tensor], seed: int, edges: int) -> float:
    one, other, images = draws(mica.trace(model, (4,)), seed, edges, EPSILON)
    outputs = []
    for drawn in (one, other):
        hidden = images.double() @ (drawn["0"].double() * masks["0"]).T + model[0].bias
        outputs.append((hidden * (hidden > 0)) @ (drawn["2"].double() * masks["2"]).T + model[2].bias)
    return float(((outputs[0] - outputs[1]) ** 2).sum().detach())


@pytest.mark.parametrize("pruned", [False, True])
def test_it_is_how_much_a_mask_s_entry_moves_the_change(pruned: bool) -> None:
    model = perceptron()
    weights = {name: model.get_parameter(f"{name}.weight").detach().clone() for name in ("0", "2")}
    if pruned:
        for weight in weights.values():
            weight[::2, ::2] = 0
    masks = {name: (weight != 0).double() for name, weight in weights.items()}
    edges = int(sum(mask.sum() for mask in masks.values()))
    wanted = {}
    for name, mask in masks.items():
        wanted[name] = torch.zeros_like(mask)
        for place in mask.nonzero().tolist():
            ends = []
            for sign in (1, -1):
                moved = {each: value.clone() for each, value in masks.items()}
                moved[name][tuple(place)] += sign * STEP
                ends.append(change(model, moved, 7, edges))
            wanted[name][tuple(place)] = abs(ends[0] - ends[1]) / (2 * STEP)
    network = Network(model=model, graph=mica.trace(model, (4,)), seed=7)
    found = Ranking(pruners.get("ntk_sap"), {"epsilon": EPSILON}).score(network, weights)
    close({name: found[name] * masks[name] for name in found}, wanted, 1e-6)


def test_draws_are_kaiming_normal_and_differ_by_iteration_and_seed() -> None:
    graph = mica.trace(nn.Sequential(nn.Conv2d(8, 64, 3), nn.Flatten(), nn.Linear(64, 10)), (8, 3, 3))
    one, other, images = draws(graph, 0, 100, 0.5)
    assert float(one["0"].std()) == pytest.approx((2 / 72) ** 0.5, rel=0.05)
    assert float((other["0"] - one["0"]).std()) == pytest.approx(0.5, rel=0.05)
    assert images.shape == (100, 8, 3, 3)
    assert not torch.equal(one["0"], draws(graph, 0, 99, 0.5)[0]["0"])
    assert not torch.equal(one["0"], draws(graph, 1, 100, 0.5)[0]["0"])
