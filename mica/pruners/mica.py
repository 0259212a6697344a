"""Minimum Connection Assurance (MiCA): random edges that are sure to connect (paper section 3)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mica.channels import Ids
from mica.graph import Layer, LayerGraph
from mica.masks import Masks
from mica.pruners.channels import channels
from mica.pruners.node_counts import chosen_outputs, shares
from mica.pruners.registry import placing
from mica.pruners.repair import repair
from mica.reachability import input_nodes, step
from mica.words import NodeCounts

_DEAD = -1
"""Stands for the channel of an input node that no signal reaches."""


@placing("mica")
def mica(graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator) -> Masks:
    """MiCA with its node counts chosen at random, as in the paper."""
    return place_mica(graph, budget, rng)


def place_mica(
    graph: LayerGraph,
    budget: Mapping[str, int],
    rng: np.random.Generator,
    node_counts: NodeCounts = "random",
) -> Masks:
    """Masks with exactly the budget, built so that as many edges as possible are functional.

    1. From the output back: which channels each layer uses (`node_counts`).
    2. From the input on: a minimum connection between them, then the rest of the budget inside it.
    3. Edges that borders and strides left without a path move to where there is one (`repair`).

    Args:
        graph: the traced network.
        budget: layer name → number of edges.
        rng: the mask's random stream.
        node_counts: how to choose from the range of equation 3: at random, its upper or lower end.
    """
    names = channels(graph, rng)
    outputs = chosen_outputs(graph, budget, names, node_counts, rng)
    masks: dict[str, Tensor] = {}
    live: list[Tensor] = []
    for op in graph.ops:
        if op.kind == "layer":
            layer = graph.layers[op.name]
            source = op.inputs[0]
            reached = input_nodes(layer, live[source]).flatten().numpy()
            channel = np.repeat(names.ids[source], len(reached) // len(names.ids[source]))
            nodes = np.where(reached, channel, _DEAD)
            masks[op.name] = _place_layer(layer, budget[op.name], nodes, outputs[op.name], rng)
        live.append(step(graph, op, [live[i] for i in op.inputs], masks))
    return repair(graph, masks, live, outputs, rng)


def _place_layer(layer: Layer, edges: int, nodes: Ids, outputs: Ids, rng: np.random.Generator) -> Tensor:
    """One layer's mask. `nodes` holds each input node's channel, or `_DEAD`, group after group."""
    mask = np.zeros((layer.groups, layer.edges // layer.groups), dtype=bool)
    by_group = zip(mask, nodes.reshape(layer.groups, -1), shares(edges, outputs, layer), strict=True)
    for group_mask, group_nodes, (share, chosen) in by_group:
        group_mask[_place(share, group_nodes, chosen, layer.shape[0] // layer.groups, rng)] = True
    return torch.from_numpy(mask).view(layer.shape)


def _place(edges: int, nodes: Ids, outputs: Ids, all_outputs: int, rng: np.random.Generator) -> Ids:
    """Which edges to keep, as indices output · inputs + input.

    Room is taken in this order: the minimum connection, the rest of V_in × V_out, other outputs with
    live inputs, anything. Each is left only when it is full.
    """
    live, dead = np.flatnonzero(nodes != _DEAD), np.flatnonzero(nodes == _DEAD)
    others = np.setdiff1d(np.arange(all_outputs), outputs)
    placed = _minimum_connection(live, nodes[live], outputs, len(nodes), rng)[:edges]
    for rows, columns in ((outputs, live), (others, live), (np.arange(all_outputs), dead)):
        if wanted := edges - len(placed):
            more = _fill_at_random(wanted, rows, columns, len(nodes), placed, rng)
            placed = np.concatenate([placed, more])
    return placed


def _minimum_connection(live: Ids, channel: Ids, outputs: Ids, inputs: int, rng: np.random.Generator) -> Ids:
    """Edges that give every live input node and every chosen output a partner, most needed first.

    One random position of every live channel comes first: that alone keeps the channel's producers
    functional (paper section 3, step 1). Then inputs and outputs pair up one to one, and what the
    longer side has left goes to random members of the shorter one (step 2).
    """
    if not len(live) or not len(outputs):
        return np.empty(0, dtype=np.int64)
    order = rng.permutation(len(live))
    _, first_of_channel = np.unique(channel[order], return_index=True)
    rest = np.delete(order, first_of_channel)
    live = live[np.concatenate([rng.permutation(order[first_of_channel]), rest])]
    outputs = rng.permutation(outputs)
    longer = max(len(live), len(outputs))
    live = np.concatenate([live, rng.choice(live, longer - len(live))])
    outputs = np.concatenate([outputs, rng.choice(outputs, longer - len(outputs))])
    return outputs * inputs + live


def _fill_at_random(
    wanted: int,
    outputs: Ids,
    nodes: Ids,
    inputs: int,
    placed: Ids,
    rng: np.random.Generator,
) -> Ids:
    """Up to `wanted` random edges of outputs × nodes that are not placed yet, without repeats."""
    if not len(outputs) or not len(nodes):
        return np.empty(0, dtype=np.int64)
    row = np.full(1 + max(outputs.max(), placed.max(initial=0) // inputs), -1)
    column = np.full(inputs, -1)
    row[outputs], column[nodes] = np.arange(len(outputs)), np.arange(len(nodes))
    rows, columns = row[placed // inputs], column[placed % inputs]
    inside = (rows >= 0) & (columns >= 0)
    taken = np.sort(rows[inside] * len(nodes) + columns[inside])
    free = len(outputs) * len(nodes) - len(taken)
    chosen = np.zeros(free, dtype=bool)
    chosen[rng.choice(free, min(wanted, free), replace=False, shuffle=False)] = True
    ranks = np.flatnonzero(chosen)
    # The r-th free cell lies behind as many taken ones as have at most r free cells before them.
    cells = ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
    edges: Ids = outputs[cells // len(nodes)] * inputs + nodes[cells % len(nodes)]
    return edges
