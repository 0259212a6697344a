"""Channels across a network: which tensors carry the same ones, and in what random order they are used."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mica.graph import LayerGraph

Ids = NDArray[np.int64]
"""int64 (units,): the channel of each unit along an operation's first dimension (channels, or features)."""


@dataclass(frozen=True)
class Channels:
    """A name for every channel of the network, and a random priority for each name.

    Branches that are added carry the same channels, whatever layers made them; concatenation joins
    lists of channels; flattening repeats a channel for each of its pixels.
    """

    ids: tuple[Ids, ...]
    """For each operation of the graph the channels of its output."""
    priority: np.ndarray
    """float64 (channels,): lower is used first. Branches that are added share one order, so they meet."""

    def width(self, op: int) -> int:
        """How many different channels an operation's output carries."""
        return len(np.unique(self.ids[op]))

    def first(self, op: int, count: int) -> np.ndarray:
        """Indices of the `count` units of a layer's output that come first in its channels' order."""
        return np.argsort(self.priority[self.ids[op]], kind="stable")[:count]


def channels(graph: LayerGraph, rng: np.random.Generator) -> Channels:
    """Name the channels of a traced network and draw their order."""
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
    roots = np.array([_root(parent, i) for i in range(len(parent))])
    ids = tuple(roots[unit] for unit in named)
    return Channels(ids, _priorities(graph, ids, rng.random(len(parent))))


def _priorities(graph: LayerGraph, ids: tuple[Ids, ...], priority: np.ndarray) -> np.ndarray:
    """Let the outputs of a grouped convolution follow the order of the inputs of their own group."""
    for index, op in enumerate(graph.ops):
        if op.kind == "layer" and graph.layers[op.name].groups > 1:
            source = ids[op.inputs[0]]
            paired = np.arange(op.shape[0]) * len(source) // op.shape[0]
            priority[ids[index]] = priority[source[paired]]
    return priority


def _root(parent: list[int], channel: int) -> int:
    while parent[channel] != channel:
        parent[channel] = parent[parent[channel]]
        channel = parent[channel]
    return channel
