"""Random pruning that leaves no channel without an edge, in two ways (Gadhikar et al. 2023)."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from mica.graph.layers import Layer, LayerGraph
from mica.masks import Masks
from mica.pruners.kinds import placing
from mica.pruners.random import draw

Flags = NDArray[np.bool_]
"""bool (groups, outputs, inputs, kernel positions) of a group of a layer: the edges kept."""
_DRAWS = 100


@placing("edge_addition")
def edge_addition(graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator) -> Masks:
    """Random edges, and one more for each channel of a layer that reads or writes nothing.

    The authors go beyond the budget by these; here as many others go, at random, as far as their channels
    keep an edge, and then any.
    """
    masks = {}
    for name, layer in graph.layers.items():
        flags = _flags(layer, draw(layer, budget[name], rng).numpy())
        if budget[name]:
            _add(flags, rng)
            _take_away(flags, int(flags.sum()) - budget[name], rng)
        masks[name] = torch.from_numpy(flags).view(layer.shape)
    return Masks(masks)


@placing("resampling", cost=400)
def resampling(graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator) -> Masks:
    """Random edges, drawn anew until each channel of the layer reads or writes something.

    Of a hundred draws of which none does, the one that leaves the fewest channels without an edge is taken.
    """
    masks = {}
    for name, layer in graph.layers.items():
        fewest = math.inf
        for _ in range(_DRAWS if 0 < budget[name] < layer.edges else 1):
            mask = draw(layer, budget[name], rng)
            if (without := _without(layer, mask.numpy())) < fewest:
                masks[name], fewest = mask, without
            if not fewest:
                break
    return Masks(masks)


def _flags(layer: Layer, mask: Flags) -> Flags:
    return mask.reshape(layer.groups, layer.shape[0] // layer.groups, layer.shape[1], -1)


def _without(layer: Layer, mask: Flags) -> int:
    """How many channels have no edge, of those read and of those written."""
    flags = _flags(layer, mask)
    return int((~flags.any((2, 3))).sum() + (~flags.any((1, 3))).sum())


def _add(flags: Flags, rng: np.random.Generator) -> None:
    """An edge at random for each channel written that has none, then for each channel read."""
    _, outputs, inputs, positions = flags.shape
    for group, output in np.argwhere(~flags.any((2, 3))):
        flags[group, output, rng.integers(inputs), rng.integers(positions)] = True
    for group, source in np.argwhere(~flags.any((1, 3))):
        flags[group, rng.integers(outputs), source, rng.integers(positions)] = True


def _take_away(flags: Flags, count: int, rng: np.random.Generator) -> None:
    """So many edges at random: first such as leave no channel without one."""
    written, read = flags.sum((2, 3)), flags.sum((1, 3))
    edges = rng.permutation(np.argwhere(flags)) if count else np.empty((0, 4), dtype=np.int64)
    needed = []
    for edge in map(tuple, edges):
        group, output, source, _ = edge
        if not count:
            break
        if written[group, output] > 1 and read[group, source] > 1:
            flags[edge], count = False, count - 1
            written[group, output] -= 1
            read[group, source] -= 1
        else:
            needed.append(edge)
    for edge in needed[:count]:
        flags[edge] = False
