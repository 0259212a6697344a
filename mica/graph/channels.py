"""Channels across a network: which tensors carry the same ones."""

import numpy as np
from numpy.typing import NDArray

from mica.graph.layers import LayerGraph

Ids = NDArray[np.int64]
"""int64 (units,): the channel of each unit along an operation's first dimension (channels, or features)."""


def channel_ids(graph: LayerGraph) -> tuple[Ids, ...]:
    """For each operation of the graph a number for every channel of its output.

    Branches that are added carry the same channels, whatever layers made them; concatenation joins
    lists of channels; flattening repeats a channel for each of its pixels; every layer makes its own.
    """
    parent: list[int] = []
    named: list[Ids] = []
    for op in graph.ops:
        sources = [named[i] for i in op.inputs]
        if op.kind in ("input", "layer"):
            first = len(parent)
            parent.extend(range(first, first + op.shape[0]))
            named.append(np.arange(first, len(parent)))
        elif op.kind == "flatten":
            named.append(np.repeat(sources[0], op.shape[0] // len(sources[0])))
        elif op.kind == "cat":
            named.append(np.concatenate(sources))
        else:
            for left, right in zip(*sources, strict=True) if op.kind == "add" else ():
                parent[_root(parent, right)] = _root(parent, left)
            named.append(sources[0])
    roots = np.array(parent)
    while not np.array_equal(roots, above := roots[roots]):
        roots = above
    return tuple(roots[unit] for unit in named)


def _root(parent: list[int], channel: int) -> int:
    while parent[channel] != channel:
        parent[channel] = parent[parent[channel]]
        channel = parent[channel]
    return channel
