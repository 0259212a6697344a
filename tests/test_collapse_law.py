"""What the documentation foretells of random masks, against masks drawn and counted channel by channel."""

import math

import numpy as np
import pandas as pd
import pytest

import mica
from docs.collapse import Layer, foretold, half, kept, layers_of
from mica.models.resnet import ResNet


def residual(width: int, edges: int, blocks: int) -> dict[str, Layer]:
    found = {"conv": Layer(3, width, 9, edges)}
    for name in (f"blocks.{block}.conv{number}" for block in range(blocks) for number in (1, 2)):
        found[name] = Layer(width, width, 9, edges)
    return found | {"fc": Layer(width, 10, 1, edges)}


def drawn(layers: dict[str, Layer], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Edges of every pair of channels."""
    found = {}
    for name, layer in layers.items():
        mask = np.zeros(layer.channels_out * layer.channels_in * layer.positions, bool)
        mask[rng.choice(len(mask), layer.edges, replace=False)] = True
        found[name] = mask.reshape(layer.channels_out, layer.channels_in, layer.positions).sum(2)
    return found


def counted(edges: dict[str, np.ndarray], *, skips: bool) -> float:
    """The functional share, by following every channel."""
    blocks = (len(edges) - 2) // 2
    live = [edges["conv"].any(1)]
    inside = []
    for block in range(blocks):
        first, second = edges[f"blocks.{block}.conv1"], edges[f"blocks.{block}.conv2"]
        inside.append(first @ live[-1] > 0)
        live.append((second @ inside[-1] > 0) | (live[-1] & skips))
    read = edges["fc"].any(0)
    functional = edges["fc"][:, live[-1]].sum()
    for block in reversed(range(blocks)):
        first, second = edges[f"blocks.{block}.conv1"], edges[f"blocks.{block}.conv2"]
        between = read @ second > 0
        functional += second[np.ix_(read, inside[block])].sum() + first[np.ix_(between, live[block])].sum()
        read = (between @ first > 0) | (read & skips)
    functional += edges["conv"][read].sum()
    return float(functional / sum(each.sum() for each in edges.values()))


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("per_channel", [1.3, 1.5, 2, 4])
def test_channels_counted_one_by_one_agree(per_channel: float, skips: bool) -> None:
    width = 400
    layers = residual(width, int(per_channel * width), blocks=4)
    rng = np.random.default_rng(0)
    found = [counted(drawn(layers, rng), skips=skips) for _ in range(20)]
    assert foretold(layers, skips=skips) == pytest.approx(np.mean(found), abs=0.01)


def test_two_channels_worked_by_hand() -> None:
    # A layer of the block has two edges in 36 places, nine a pair of its channels; the others are dense.
    layers = residual(2, 2, blocks=1) | {"conv": Layer(1, 2, 9, 18), "fc": Layer(2, 10, 1, 20)}
    linked = 1 - (27 / 36) * (26 / 35)
    one = 1 - (1 - linked) ** 2  # of its two pairs either
    inner = 1 - (1 - linked * one) ** 2
    total = 18 * inner + 2 * one + 2 * one + 20 * inner
    assert foretold(layers, skips=False) == pytest.approx(total / 42)
    assert foretold(layers, skips=True) == pytest.approx((18 + 2 * one + 2 * one + 20) / 42)


@pytest.mark.parametrize("skips", [False, True])
def test_masks_of_a_real_network_agree(skips: bool) -> None:
    """Its two changes of width have projections as shortcuts."""
    shape, ratio = (1, 16, 16), 300
    model = ResNet(2, shape, 10, (32, 64, 128), skips=skips)
    graph = mica.trace(model, shape)
    found, rows = [], []
    for seed in range(4):
        masks = mica.sparsify(model, "rpi-igq", ratio, seed, graph=graph)
        found.append(mica.functional(graph, masks).kept / masks.kept)
        rows = [(name, ",".join(map(str, mask.shape)), int(mask.sum())) for name, mask in masks.items()]
    layers = layers_of(pd.DataFrame(rows, columns=["name", "shape", "budget"]))
    assert any("shortcut" in name for name in layers) == skips
    assert foretold(layers, skips=skips) == pytest.approx(np.mean(found), abs=0.03)


def test_half_lies_between_two_ratios() -> None:
    rows = pd.DataFrame({"log10_ratio": [1, 2, 3], "found": [1.0, 0.7, 0.2]})
    assert math.isclose(half(rows) or 0, 2.4)
    assert half(rows[:2]) is None


def test_masks_without_edges_have_none_that_function() -> None:
    layers = {name: Layer(8, 8, 9, 0) for name in residual(8, 0, blocks=2)}
    assert foretold(layers, skips=False) == foretold(layers, skips=True) == 0


def test_what_the_page_says_of_its_masks() -> None:
    rows = kept()
    assert rows.masks.sum() > 40_000
    mica = rows[rows.method.str.startswith("mica") & (rows.per_channel > 0)]
    assert len(mica) == 699 and (mica.found == 1).all()
    deep = [half(each) for _, each in rows[rows.method.str.startswith("rpi") & ~rows.skips & (rows.depth > 8)]
            .groupby(["method", "depth", "width"])]  # fmt: skip
    by_depth = np.reshape(deep, (2, 3, 3))
    assert np.ptp(by_depth, axis=1).max() < 0.05, "it is the same for all depths"
    assert np.diff(by_depth, axis=2) == pytest.approx(np.log10(2), abs=0.03), "and doubles with the width"
    random = rows[rows.method.str.startswith("rpi")]
    assert (random.foretold - random.found).abs().mean() < 0.01
