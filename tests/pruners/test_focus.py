"""MiCA's focus: places are drawn in proportion to a power of how many pixels they bring signal to."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mica
from mica.graph.layers import Layer
from mica.pruners.connection.draw import Draw
from mica.pruning.budgets import allocate
from tests.oracle.networks import random_network

MIDDLE, SIDE, CORNER = 4, 2, 1
"""Pixels of a 2×2 map that a 3×3 kernel's positions read."""
KERNEL = np.array([CORNER, SIDE, CORNER, SIDE, MIDDLE, SIDE, CORNER, SIDE, CORNER], dtype=float)


def chi_square(found: Counter[int], expected: np.ndarray) -> float:
    draws = sum(found.values())
    return float(sum((found[i] - draws * p) ** 2 / (draws * p) for i, p in enumerate(expected)))


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0])
def test_one_edge_s_position_is_drawn_as_often_as_it_reads_pixels(focus: float) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1)
    )
    graph = mica.trace(model, (1, 2, 2))
    found: Counter[int] = Counter()
    for seed in range(1500):
        masks = mica.sparsify(model, f"mica(focus={focus})-epl", 5, seed, graph=graph, rounding="exact")
        found[int(masks["0"].flatten().nonzero())] += 1
    expected = KERNEL**focus / (KERNEL**focus).sum()
    assert chi_square(found, expected) < 28  # eight degrees of freedom: one in two thousand


def test_places_of_a_table_are_drawn_one_after_the_other_by_weight() -> None:
    """Two of four places without one that is taken: against the sum over both orders."""
    weights = np.array([1.0, 3.0])
    draw = Draw(np.random.default_rng(0), weights)
    place = np.array([1.0, 3.0, 1.0, 3.0])
    taken, free = np.array([1]), [0, 2, 3]
    found = Counter(tuple(draw.cells(2, 2, np.arange(2), taken).tolist()) for _ in range(4000))
    total = place[free].sum()
    expected = {
        (a, b): place[a] / total * place[b] / (total - place[a])
        + place[b] / total * place[a] / (total - place[b])
        for a, b in ((0, 2), (0, 3), (2, 3))
    }
    assert set(found) == set(expected)
    assert sum((found[k] - 4000 * p) ** 2 / (4000 * p) for k, p in expected.items()) < 15


def test_no_place_is_drawn_twice_and_none_that_is_taken() -> None:
    draw = Draw(np.random.default_rng(0), np.array([1.0, 1e-12, 5.0]))
    taken = np.array([0, 4])
    assert draw.cells(9, 3, np.arange(3), taken).tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert draw.cells(0, 3, np.arange(3), taken).tolist() == []


@given(st.integers(0, 2**31), st.floats(0, 2.5), st.sampled_from([0.5, 3.0, 100.0]))
@settings(max_examples=60)
def test_budgets_are_met_and_as_many_edges_function_as_without(seed: int, log: float, focus: float) -> None:
    net = random_network(seed)
    graph = mica.trace(net, net.input_shape)
    plain, focused = (
        mica.sparsify(net, f"mica{option}-erk", 10**log, seed, graph=graph, rounding="exact")
        for option in ("", f"(focus={focus})")
    )
    assert focused.counts() == plain.counts() == allocate(graph.shapes, "erk", 10**log, "exact")
    if mica.functional(graph, plain).kept == plain.kept > 3 * len(graph.layers):
        assert mica.functional(graph, focused).kept == focused.kept


@pytest.fixture(scope="module")
def vgg16() -> tuple[nn.Module, mica.LayerGraph]:
    model = mica.models.build("vgg16", input_shape=(3, 32, 32), classes=10, seed=0)
    return model, mica.trace(model, (3, 32, 32))


def test_deep_layers_of_vgg16_turn_to_the_middle_and_early_ones_stay_spread(vgg16) -> None:
    model, graph = vgg16
    masks = mica.sparsify(model, "mica(focus=8)-igq", 1e4, 0, graph=graph)
    assert mica.functional(graph, masks).kept == masks.kept

    def middle(layers: list[Layer]) -> float:
        found = torch.stack([masks[layer.name].flatten(2).sum(dim=(0, 1)) for layer in layers]).sum(dim=0)
        return float(found[4] / found.sum())

    convs = [layer for layer in graph.layers.values() if layer.is_conv]
    assert middle(convs[-3:]) > 0.9 and middle(convs[:4]) < 0.25


@pytest.mark.parametrize("log", [3.5, 4.5, 5.0])
@pytest.mark.parametrize("fan_in", [1.0, 2.0, 4.0, 6.0])
def test_with_a_fan_in_no_layer_of_vgg16_is_a_bottleneck(fan_in: float, log: float, vgg16) -> None:
    model, graph = vgg16
    masks = mica.sparsify(model, f"mica(fan_in={fan_in})-igq", 10**log, 0, graph=graph, rounding="exact")
    assert mica.functional(graph, masks).kept == masks.kept == round(graph.edges / 10**log)
    edges = list(masks.counts().values())
    for index, (name, mask) in enumerate(list(masks.items())[:-1]):
        wide = int(mask.flatten(1).any(dim=1).sum())
        most = min(round(edges[index] / fan_in), graph.layers[name].shape[0], edges[index + 1])
        assert 0.8 * most <= wide <= most, name  # an output may lose its few edges to a border


def test_distinct_outputs_of_one_channel_read_it_at_different_places() -> None:
    """Three outputs of one edge each: three of a kernel's places, drawn one after the other by weight."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)
    )
    graph = mica.trace(model, (1, 2, 2))

    def places(method: str, seed: int) -> set[int]:
        masks = mica.sparsify(model, method, 6, seed, graph=graph, rounding="exact")
        assert masks["0"].flatten(1).any(dim=1).all()
        return {int(place) for place in masks["0"].nonzero()[:, 3] + 3 * masks["0"].nonzero()[:, 2]}

    found = [places("mica(fan_in=1,focus=1,distinct=true)-epl", seed) for seed in range(400)]
    assert {len(each) for each in found} == {3}
    assert min(len(places("mica(fan_in=1,focus=1)-epl", seed)) for seed in range(20)) < 3
    # Of three draws without repeats the first, second and third: by the sum over what came before.
    share = KERNEL / KERNEL.sum()
    inside = share.copy()
    for a in range(9):
        for b in set(range(9)) - {a}:
            both = share[a] * share[b] / (1 - share[a])
            inside[b] += both
            for c in set(range(9)) - {a, b}:
                inside[c] += both * share[c] / (1 - share[a] - share[b])
    counts = np.array([sum(place in each for each in found) for place in range(9)])
    spread = np.sqrt(400 * inside * (1 - inside))
    assert (np.abs(counts - 400 * inside) < 4 * spread).all()
