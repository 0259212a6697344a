"""PHEW: edges on random walks that prefer large weights (Patil and Dovrolis 2021)."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.graph.channels import Ids
from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.pruners.kinds import placing
from mica.pruners.walks.steps import Walks

_FEWEST, _MOST = 1 << 8, 1 << 15
"""Walks at a time."""
_PATIENCE = 4
"""So often in a row, each way, less than a hundredth of the walks may find a new edge; then they end."""


@placing("phew", cost=2000)
def phew(
    graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator, weights: Mapping[str, Tensor]
) -> Masks:
    """What random walks pass, in turns from the input to an output and from an output back to the input.

    A walk takes any edge at the channel that it has come to with a probability proportional to |w|; where
    branches part, or join on the way back, any of them alike. The authors walk until the whole network has
    its edges; here each layer keeps the first of its budget that walks pass, and walks through a full layer
    keep to those, or end there and count nothing. What walks would not find, such as the last edges of a
    layer that is almost dense, is drawn at random, again in proportion to |w|.
    """
    sizes = {name: weight.abs().double().numpy() for name, weight in weights.items()}
    walks = Walks(graph, sizes)
    kept = {name: _Kept(layer.edges, budget[name]) for name, layer in graph.layers.items()}
    for name in [name for name in kept if not budget[name]]:
        walks.keep_to(name, np.empty(0, dtype=np.int64))
    idle, ways = 0, (walks.forward, walks.backward)
    while idle < 2 * _PATIENCE and (wanting := [name for name in kept if kept[name].room]):
        count = min(max(_FEWEST, *(kept[name].room for name in wanting)), _MOST)
        passed = ways[0](count, rng)
        ways = ways[::-1]
        # Those behind the first one that a layer had no more room for would have walked otherwise.
        end = min([count, *(kept[name].overflow(*passed[name]) for name in wanting if name in passed)])
        new = sum(kept[name].take(*passed[name], end) for name in wanting if name in passed)
        for name in wanting:
            if not kept[name].room:
                walks.keep_to(name, np.flatnonzero(kept[name].flags))
        idle = idle + 1 if end == count and new < 0.01 * count else 0
    return Masks(
        {
            name: torch.from_numpy(kept[name].filled(sizes[name].ravel(), rng)).view(layer.shape)
            for name, layer in graph.layers.items()
        }
    )


class _Kept:
    """A layer's edges so far."""

    def __init__(self, edges: int, budget: int) -> None:
        self.flags, self.room = np.zeros(edges, dtype=bool), budget

    def overflow(self, walks: Ids, edges: Ids) -> int:
        """The first of these walks, which ascend, that comes with a new edge when there is no more room."""
        firsts = np.sort(self._new(walks, edges)[0])
        return int(firsts[self.room]) if len(firsts) > self.room else np.iinfo(np.int64).max

    def take(self, walks: Ids, edges: Ids, end: int) -> int:
        """Keep what the walks before `end` passed; returns how many edges are new."""
        first, new = self._new(walks, edges)
        new = new[first < end]
        self.flags[new] = True
        self.room -= len(new)
        return len(new)

    def _new(self, walks: Ids, edges: Ids) -> tuple[Ids, Ids]:
        """The edges that are new, each once, and the first walk that came with each."""
        fresh = ~self.flags[edges]
        new, place = np.unique(edges[fresh], return_index=True)
        return walks[fresh][place], new

    def filled(self, sizes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """With as many more edges as there is room for, one after the other in proportion to their size."""
        if self.room:
            others = np.flatnonzero(~self.flags)
            with np.errstate(divide="ignore"):
                times = rng.exponential(size=len(others)) / sizes[others]
            self.flags[others[np.argsort(times, kind="stable")[: self.room]]] = True
        return self.flags
