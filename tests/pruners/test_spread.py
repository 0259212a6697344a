"""Edges spread evenly over pairs of channels: counted pair by pair, and by hand."""

import numpy as np
import pytest

import mica
from mica.pruners.connection.draw import Draw
from mica.pruners.connection.spread import spread_connection


def draw(seed: int, weights: np.ndarray | None = None) -> Draw:
    return Draw(np.random.default_rng(seed), weights)


@pytest.mark.parametrize("seed", range(60))
def test_no_pair_has_two_more_than_another_that_has_room(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channel = np.repeat(np.arange(rng.integers(1, 7)) * 10, 9)
    live = np.flatnonzero(rng.random(len(channel)) < 0.7)
    outputs, inputs = rng.choice(20, rng.integers(1, 8), replace=False), len(channel)
    wanted = int(rng.integers(0, 1.2 * len(live) * len(outputs) + 2))
    weights = rng.random(inputs) if seed % 2 else None
    found = spread_connection(wanted, live, channel[live], outputs, inputs, draw(seed, weights))
    assert len(np.unique(found)) == len(found) == min(wanted, len(live) * len(outputs))
    rows, nodes = np.divmod(found, inputs)
    assert set(rows) <= set(outputs) and set(nodes) <= set(live)
    places = {own: int(np.sum(channel[live] == own)) for own in np.unique(channel[live])}
    pairs = {(row, own): 0 for row in outputs for own in places}
    for row, node in zip(rows, nodes, strict=True):
        pairs[row, channel[node]] += 1
    least = min((count for (_, own), count in pairs.items() if count < places[own]), default=9)
    assert all(count <= least + 1 for count in pairs.values())


@pytest.mark.parametrize(("edges", "of_outputs", "of_channels"), [
    (3, [1, 1, 1], [1, 2]), (4, [1, 1, 2], [2, 2]), (6, [2, 2, 2], [3, 3]), (7, [2, 2, 3], [3, 4]),
])  # fmt: skip
def test_outputs_and_channels_take_turns(edges: int, of_outputs: list[int], of_channels: list[int]) -> None:
    """Three outputs, two channels of nine nodes: how many edges each has, ascending."""
    found = spread_connection(edges, np.arange(18), np.repeat([0, 1], 9), np.arange(3), 18, draw(0))
    assert sorted(np.bincount(found // 18, minlength=3)) == of_outputs
    assert sorted(np.bincount(found % 18 // 9, minlength=2)) == of_channels


def test_heavy_nodes_come_first() -> None:
    weights = np.tile([1e-9, 1.0, 1e-9], 2)
    found = spread_connection(4, np.arange(6), np.repeat([0, 1], 3), np.arange(2), 6, draw(0, weights))
    assert sorted(found) == [1, 4, 7, 10]


def test_nothing_live_or_no_output_is_no_edge() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert not len(spread_connection(5, nothing, nothing, np.arange(2), 4, draw(0)))
    assert not len(spread_connection(5, np.arange(4), np.arange(4), nothing, 4, draw(0)))


@pytest.mark.parametrize("log", [2, 3.5, 4.5, 5.0])
def test_all_edges_of_vgg16_stay_functional_and_channels_read_more_of_each_other(log: float) -> None:
    model = mica.models.build("vgg16", input_shape=(3, 32, 32), classes=10, seed=0)
    graph = mica.trace(model, (3, 32, 32))
    pairs = {}
    for method in ("mica(node_counts=min,spread=true)-igq", "mica(node_counts=min)-igq"):
        masks = mica.sparsify(model, method, 10**log, 0, graph=graph, rounding="exact")
        assert mica.functional(graph, masks).kept == masks.kept == round(graph.edges / 10**log)
        pairs[method] = sum(
            int(mask.flatten(2).any(2).sum()) for name, mask in masks.items() if mask.dim() == 4
        )
    spread, random = pairs.values()
    assert spread > random
