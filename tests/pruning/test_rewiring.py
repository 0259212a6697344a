"""Rewiring keeps every node's number of edges, and draws the rest of it evenly."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mica
from mica.pruning.rewiring import _trade, rewire
from mica.trial.prepare import prepare
from mica.trial.run import load
from tests.oracle.networks import random_network
from tests.trial.sample import tiny


@given(st.integers(0, 2**31), st.floats(0, 2.0), st.sampled_from(["rpi-erk", "mica-igq", "rbpi-magnitude"]))
@settings(max_examples=60)
def test_every_node_and_every_output_keeps_its_number_of_edges(seed: int, log: float, method: str) -> None:
    net = random_network(seed)
    graph = mica.trace(net, net.input_shape)
    masks = mica.sparsify(net, method, 10**log, seed, graph=graph)
    rewired = rewire(graph, masks, np.random.default_rng(seed))
    for name, layer in graph.layers.items():
        one, other = (
            each[name].reshape(layer.groups, layer.shape[0] // layer.groups, -1) for each in (masks, rewired)
        )
        assert (one.sum(dim=1) == other.sum(dim=1)).all() and (one.sum(dim=2) == other.sum(dim=2)).all()


def traded(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = start.copy()
    _trade(found, rng)
    return found


def test_every_mask_with_these_degrees_is_as_likely_as_any_other() -> None:
    start = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool)
    every = []
    for cells in itertools.product([False, True], repeat=12):
        flags = np.array(cells).reshape(3, 4)
        if (flags.sum(0) == start.sum(0)).all() and (flags.sum(1) == start.sum(1)).all():
            every.append(flags.tobytes())
    rng, draws = np.random.default_rng(0), 200 * len(every)
    found = Counter(traded(start, rng).tobytes() for _ in range(draws))
    assert set(found) == set(every)
    assert sum((found[each] - 200) ** 2 / 200 for each in every) < 37  # 14 degrees of freedom
    assert len(every) == 15


def test_large_layers_change_all_but_a_few_of_their_edges() -> None:
    rng = np.random.default_rng(1)
    start = rng.random((512, 4608)) < 0.01
    found = traded(start, rng)
    assert (found.sum(0) == start.sum(0)).all() and (found.sum(1) == start.sum(1)).all()
    assert (found & start).sum() < 0.03 * start.sum()


@pytest.mark.parametrize("method", ["rpi-erk", "rbpi-snip"])
def test_a_trial_s_rewired_mask_differs_in_nothing_else(method: str) -> None:
    kept, rewired, again = (
        prepare(tiny(method=method, wiring=wiring), load(tiny()), "cpu")
        for wiring in ("kept", "rewired", "rewired")
    )
    assert kept.masks.counts() == rewired.masks.counts()
    assert kept.masks.digest() != rewired.masks.digest() == again.masks.digest()
    assert str(rewired.spec) == str(kept.spec).replace(method, f"{method} rewired")
