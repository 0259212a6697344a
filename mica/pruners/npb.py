"""NPB: node-path balancing, many channels in use and many paths through them (Pham et al. 2023)."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from mica.graph.layers import Layer, LayerGraph, Op
from mica.masks import Masks
from mica.pruners.connection.node_counts import shares
from mica.pruners.kinds import placing

Paths = NDArray[np.float64]
"""For each unit of an operation's output how many paths lead to it, the largest of a layer being 1."""
Balance = Annotated[float, Field(ge=0, le=1)]


@placing("npb", cost=100)
def npb(
    graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator, *, balance: Balance = 0.5
) -> Masks:
    """Layer by layer from the input on, the mask that is best by balance · nodes + (1 − balance) · paths.

    Nodes are the layer's input nodes that a path leads to and that it reads, and the outputs that it writes;
    paths are those that end in an edge of the layer; both as a share of the most that its budget allows.
    Equals are chosen at random. Pixels take no part: a kernel's positions count alike.

    Args:
        balance: how much nodes count beside paths.
    """
    paths: list[Paths] = []
    masks = {}
    for op in graph.ops:
        sources = [paths[index] for index in op.inputs]
        if op.kind == "layer":
            layer = graph.layers[op.name]
            read = sources[0] / max(1.0, sources[0].max())
            mask, found = _layer(layer, budget[op.name], read, balance, rng)
            masks[op.name] = torch.from_numpy(mask)
        else:
            found = _passed(op, sources)
        paths.append(found)
    return Masks({name: masks[name] for name in graph.layers})


def _passed(op: Op, sources: list[Paths]) -> Paths:
    """Paths behind an operation that has no edges."""
    if op.kind == "input":
        return np.ones(op.shape[0])
    if op.kind == "add":
        return np.asarray(sum(sources))
    found = np.concatenate(sources)
    return found.repeat(op.shape[0] // len(found)) if op.kind == "flatten" else found


def _layer(
    layer: Layer, edges: int, read: Paths, balance: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Paths]:
    """A layer's mask, and the paths that lead to its outputs."""
    width, positions = layer.shape[0] // layer.groups, layer.edges // (layer.shape[0] * layer.shape[1])
    mask = np.zeros((layer.groups, width, layer.shape[1] * positions), dtype=bool)
    nodes = read.reshape(layer.groups, -1).repeat(positions, axis=1)
    outputs = np.arange(layer.shape[0])
    for flags, paths, (share, _) in zip(mask, nodes, shares(edges, outputs, layer), strict=True):
        _place(flags, paths, share, balance, rng)
    return mask.reshape(layer.shape), np.einsum("gwn,gn->gw", mask, nodes).ravel()


def _place(
    flags: NDArray[np.bool_], paths: Paths, edges: int, balance: float, rng: np.random.Generator
) -> None:
    """Set the best `edges` of (outputs, nodes) in place.

    Every edge of a node counts its paths, and the first of each node that a path leads to counts for the node
    too; the outputs can always be written as evenly as there are edges. So edges go by what they count.
    """
    width, count = flags.shape
    leads = paths > 0
    most_nodes = min(edges, int(leads.sum())) + min(edges, width)
    most_paths = np.sort(paths.repeat(width))[::-1][:edges].sum()
    of_paths = (1 - balance) * paths / (most_paths or 1.0)
    first = of_paths + balance * leads / (most_nodes or 1)
    gains = np.concatenate([first, of_paths.repeat(width - 1)])
    order = rng.permutation(len(gains))
    taken = order[np.argsort(-gains[order], kind="stable")[:edges]]
    node = np.concatenate([np.arange(count), np.arange(count).repeat(width - 1)])
    wanted = np.bincount(node[taken], minlength=count)
    # A node's edges go to outputs that follow each other, the next node's to those behind: all are written.
    outputs = rng.permutation(width)
    ends = np.cumsum(wanted)
    for which in np.flatnonzero(wanted):
        flags[outputs[np.arange(ends[which] - wanted[which], ends[which]) % width], which] = True
