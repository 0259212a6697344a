"""Targets: which nominal ratio gives a mask with so many functional edges."""

import math
from collections.abc import Callable
from typing import Literal

from mica.graph import LayerGraph
from mica.graph.reachability import functional
from mica.masks import Masks

Target = Literal["nominal", "corrected"]
"""What a ratio counts: all edges / kept edges, or all edges / functional edges."""

_CLOSE = 0.01
"""A mask whose functional edges differ by no more than this share from what is wanted will do."""
_FINEST = 1e-7
"""Between two nominal ratios (log10) that are hardly apart no other is looked for."""
_MOST = 60
"""Masks that are made, at most."""


def reach(make: Callable[[float], Masks], graph: LayerGraph, log10_ratio: float) -> Masks:
    """The mask whose functional edges come to all / 10^log10_ratio, to a hundredth, or as near as was found.

    Functional edges all but always fall as the nominal ratio rises, so this is a bisection, of which the next
    point is guessed from the share that was functional at the last one.

    Args:
        make: gives the mask of a nominal ratio (log10).
        graph: the network's.
    """
    wanted = graph.edges / 10**log10_ratio
    low, high, point = 0.0, log10_ratio, log10_ratio
    best: tuple[float, Masks] | None = None
    for _ in range(_MOST):
        masks = make(point)
        found = functional(graph, masks).kept
        miss = abs(found - wanted)
        if best is None or miss < best[0]:
            best = miss, masks
        if close(found, wanted) or (found < wanted and point == 0):
            break
        if found < wanted:
            high = point
        else:
            low = point
        if high - low < _FINEST:
            break
        guess = point + math.log10(found / wanted) if found else low
        point = guess if low < guess < high else (low + high) / 2
    assert best
    return best[1]


def close(functional_edges: int, wanted: float) -> bool:
    """Whether a mask with so many functional edges is near enough to what a target asks for."""
    return abs(functional_edges - wanted) <= _CLOSE * wanted
