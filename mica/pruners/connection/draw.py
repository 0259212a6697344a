"""How MiCA draws places for a layer's edges: all alike, or some rather than others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mica.graph.channels import Ids
from mica.graph.reachability import Bits

Weights = NDArray[np.float64]

_FEW = 1 << 16
"""Up to so many edges, or up to a twentieth of the places, numpy's own choice is quick enough."""
_LEAST = 1e-12
"""Weight of a node that brings no signal, in the least: it comes after all others."""


def weights_of(nodes: Bits, focus: float) -> Weights | None:
    """(groups, nodes): how much rather than others each is drawn; None: all alike.

    Args:
        nodes: `mica.graph.reachability.input_nodes` of one layer.
        focus: in proportion to this power of how many output pixels a node brings signal to.
    """
    if not focus:
        return None
    pixels = np.bitwise_count(nodes).sum(axis=0, dtype=np.float64)
    found: Weights = np.maximum((pixels / max(1.0, pixels.max())) ** focus, _LEAST)
    return found


@dataclass(frozen=True)
class Draw:
    """Draws among the input nodes of one layer, or of one group of it."""

    rng: np.random.Generator
    weights: Weights | None
    """(nodes,); None: all alike."""

    def order(self, nodes: Ids) -> Ids:
        """Indices of these nodes in random order, drawn one after the other in proportion to their weights.

        By exponential keys, as Efraimidis and Spirakis (2006) do it.
        """
        if self.weights is None:
            return self.rng.permutation(len(nodes))
        return np.argsort(self.keys(1, nodes)[0])

    def keys(self, rows: int, nodes: Ids) -> NDArray[np.float64]:
        """(rows, nodes): random keys; what sorts a row is an `order`."""
        keys = self.rng.exponential(size=(rows, len(nodes)))
        return keys if self.weights is None else keys / self.weights[nodes]

    def some(self, nodes: Ids, count: int) -> Ids:
        """So many of these nodes, each of which may come again."""
        if self.weights is None or not count:
            return self.rng.choice(nodes, count)
        weights = self.weights[nodes]
        return self.rng.choice(nodes, count, p=weights / weights.sum())

    def cells(self, count: int, rows: int, nodes: Ids, taken: Ids) -> Ids:
        """Up to so many places, none twice, in a table of rows × nodes that is counted row by row.

        Args:
            taken: places that are not to be drawn, ascending.
        """
        free = rows * len(nodes) - len(taken)
        count = min(count, free)
        if self.weights is None:
            ranks = choose(count, free, self.rng)
            # The r-th free cell lies behind as many taken ones as have at most r free cells before them.
            behind = np.searchsorted(ranks, taken - np.arange(len(taken)))
            return ranks + np.repeat(np.arange(len(taken) + 1), np.diff(behind, prepend=0, append=len(ranks)))
        keys = self.keys(rows, nodes).ravel()
        keys[taken] = np.inf
        return np.sort(np.argsort(keys)[:count])


def choose(count: int, total: int, rng: np.random.Generator) -> Ids:
    """`count` of the numbers below `total`, ascending; all such sets are equally likely."""
    if count <= max(_FEW, total // 20):
        return np.sort(rng.choice(total, count, replace=False, shuffle=False))
    # Drawing one number after the other until so many differ, which is several times quicker.
    drawn, wanted = np.zeros(total, dtype=bool), min(count, total - count)
    while missing := wanted - np.count_nonzero(drawn):
        drawn[rng.integers(total, size=missing)] = True
    return np.flatnonzero(drawn if wanted == count else ~drawn)
