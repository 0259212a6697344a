"""NPB against brute force: no mask of a layer has more of what it balances."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mica
from mica.pruners.npb import _place
from mica.pruning.budgets import allocate
from tests.oracle.networks import random_network


def worth(flags: np.ndarray, paths: np.ndarray, balance: float) -> float:
    """By the definition: nodes read that a path leads to, outputs written, and paths through the edges."""
    edges = int(flags.sum())
    nodes = sum(1 for node, column in enumerate(flags.T) if column.any() and paths[node] > 0)
    outputs = sum(1 for row in flags if row.any())
    most_nodes = min(edges, sum(paths > 0)) + min(edges, len(flags))
    through = sum(paths[node] for _, node in np.argwhere(flags))
    most_through = sum(sorted([path for path in paths for _ in flags], reverse=True)[:edges])
    return balance * (nodes + outputs) / most_nodes + (1 - balance) * through / most_through


@pytest.mark.parametrize("balance", [0.0, 0.01, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("edges", range(1, 9))
@pytest.mark.parametrize("paths", [(1.0, 1.0, 1.0), (1.0, 0.5, 0.0), (0.2, 1.0, 0.9)])
def test_no_other_mask_of_a_layer_is_worth_more(paths: tuple[float, ...], edges: int, balance: float) -> None:
    places, best = list(itertools.product(range(3), range(3))), 0.0
    for chosen in itertools.combinations(places, edges):
        flags = np.zeros((3, 3), dtype=bool)
        flags[tuple(zip(*chosen, strict=True))] = True
        best = max(best, worth(flags, np.array(paths), balance))
    flags = np.zeros((3, 3), dtype=bool)
    _place(flags, np.array(paths), edges, balance, np.random.default_rng(edges))
    assert flags.sum() == edges
    assert worth(flags, np.array(paths), balance) == pytest.approx(best)


def test_paths_are_counted_through_the_layers_before() -> None:
    """What has most edges is read, and nothing with fewer, as long as there is no room elsewhere."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    graph = mica.trace(model, (2,))
    for seed in range(20):
        masks = mica.sparsify(model, "npb(balance=0)-epl", 3, seed, graph=graph, rounding="exact")
        assert masks.counts() == {"0": 3, "2": 3}
        leading = masks["0"].sum(dim=1)
        read = masks["2"].any(dim=0)
        assert leading[read].min() == leading.max()


@given(st.integers(0, 2**31), st.sampled_from(["erk", "epl", "uniform"]), st.floats(0, 2.5))
@settings(max_examples=60)
def test_any_network_keeps_its_budget(seed: int, rule: str, log: float) -> None:
    net = random_network(seed)
    graph = mica.trace(net, net.input_shape)
    masks = mica.sparsify(net, f"npb-{rule}", 10**log, seed, graph=graph)
    assert masks.counts() == allocate(graph.shapes, rule, 10**log)
    again = mica.sparsify(net, f"npb-{rule}", 10**log, seed, graph=graph)
    assert masks.digest() == again.digest()


def test_it_connects_vgg11_where_random_places_do_not() -> None:
    model = mica.models.build("vgg11", input_shape=(3, 32, 32), classes=10, seed=0)
    graph = mica.trace(model, (3, 32, 32))
    for seed in range(5):
        npb, rpi = (mica.sparsify(model, f"{name}-erk", 1e4, seed, graph=graph) for name in ("npb", "rpi"))
        assert mica.functional(graph, npb).kept > 0.15 * npb.kept
        assert mica.functional(graph, rpi).kept == 0
