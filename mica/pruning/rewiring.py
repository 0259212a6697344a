"""Rewiring: other edges between the same nodes, each of which keeps its number of edges."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mica.graph.layers import LayerGraph
from mica.masks import Masks

Wiring = Literal["kept", "rewired"]
"""A mask's edges as its method placed them, or rewired."""

_TRADES = 10
"""For each output that has edges."""


def rewire(graph: LayerGraph, masks: Masks, rng: np.random.Generator) -> Masks:
    """Masks whose input nodes (channel, kernel row, kernel column) and outputs have as many edges as before.

    Who is joined to whom is drawn at random, all ways alike, by trades (the curveball algorithm, Strona et
    al. 2014): two outputs throw together the nodes that only one of them reads, and deal them out anew. A
    group of a convolution keeps to itself.

    Args:
        graph: the masks' network.
        masks: of any method.
        rng: the random stream to draw from.
    """
    found = {}
    for name, layer in graph.layers.items():
        groups = masks[name].numpy().reshape(layer.groups, layer.shape[0] // layer.groups, -1).copy()
        for group in groups:
            _trade(group, rng)
        found[name] = torch.from_numpy(groups.reshape(layer.shape))
    return Masks(found)


def _trade(mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Rewire (outputs, nodes) in place."""
    live = np.flatnonzero(mask.any(axis=1))
    for _ in range(_TRADES * len(live) if len(live) > 1 else 0):
        one, other = rng.choice(live, 2, replace=False)
        pool = rng.permutation(np.flatnonzero(mask[one] ^ mask[other]))
        share = np.count_nonzero(mask[one, pool])
        mask[one, pool], mask[other, pool] = False, False
        mask[one, pool[:share]], mask[other, pool[share:]] = True, True
