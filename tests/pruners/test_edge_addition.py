"""Edge addition and resampling: no channel without an edge, as far as the budget admits it."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mica


def lonely(mask: Tensor) -> int:
    """Channels without an edge, read or written (no groups)."""
    edges = mask.flatten(2).any(2) if mask.dim() == 4 else mask
    return int((~edges.any(0)).sum() + (~edges.any(1)).sum())


def network(widths: list[int], kernel: int) -> nn.Module:
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, kernel, padding=kernel // 2, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 4, 3))


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.sampled_from([1, 3]),
    st.floats(1, 40),
    st.integers(0, 99),
)
@settings(max_examples=60)
def test_edge_addition_gives_each_channel_an_edge(
    widths: list[int], kernel: int, ratio: float, seed: int
) -> None:
    """With C + C' − 1 edges it always can: what has no edge to spare is stars, one edge a channel less."""
    graph = mica.trace(model := network(widths, kernel), (widths[0], 2, 2))
    masks = mica.sparsify(model, "edge_addition-epl", ratio, seed, graph=graph)
    assert masks.counts() == mica.sparsify(model, "rpi-epl", ratio, seed, graph=graph).counts()
    for mask in masks.values():
        if int(mask.sum()) >= sum(mask.shape[:2]) - 1:
            assert not lonely(mask)


def test_edge_addition_by_hand() -> None:
    """Three edges between two and two channels: whichever is missing, each channel has one."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    found = {
        tuple(
            mica.sparsify(model, "edge_addition-uniform", 4 / 3, seed, input_shape=(2,))["0"]
            .flatten()
            .tolist()
        )
        for seed in range(60)
    }
    assert found == {tuple(i != gone for i in range(4)) for gone in range(4)}, (
        "three edges: any one is missing"
    )


def test_groups_are_looked_at_apart() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Flatten(), nn.Linear(32, 2))
    for pruner in ("edge_addition", "resampling"):
        masks = mica.sparsify(model, f"{pruner}-uniform", 4.0, 0, input_shape=(8, 2, 2))
        assert (masks["0"].flatten(1).sum(1) > 0).all()


def test_resampling_takes_the_first_draw_that_leaves_no_channel_out() -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False))
    for seed in range(30):
        mask = mica.sparsify(model, "resampling-uniform", 2.0, seed, input_shape=(6,))["0"]
        assert int(mask.sum()) == 18 and not lonely(mask)
        first = mica.sparsify(model, "rpi-uniform", 2.0, seed, input_shape=(6,))["0"]
        assert lonely(first) or torch.equal(mask, first)


def test_resampling_without_edges_enough_leaves_out_as_few_as_it_finds() -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False))
    means = [
        np.mean(
            [
                lonely(mica.sparsify(model, f"{pruner}-uniform", 6.0, seed, input_shape=(6,))["0"])
                for seed in range(20)
            ]
        )
        for pruner in ("rpi", "resampling")
    ]
    assert means[1] < means[0] - 1


@pytest.mark.parametrize("pruner", ["edge_addition", "resampling"])
def test_an_empty_layer_stays_empty(pruner: str) -> None:
    model = network([3, 4], 3)
    masks = mica.sparsify(model, f"{pruner}-pyramid", 100.0, 0, input_shape=(3, 2, 2))
    assert math.prod(masks["3"].shape) and not masks["3"].any()
