"""Minimum Connection Assurance (MiCA): random edges that are sure to connect (paper section 3)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from mica.errors import UserError
from mica.graph.channels import Ids
from mica.graph.layers import Layer, LayerGraph, Op
from mica.graph.reachability import Bits, Bools, input_nodes
from mica.masks import Masks
from mica.options import LATER
from mica.pruners.connection.channel_order import channels
from mica.pruners.connection.draw import Draw, Weights, weights_of
from mica.pruners.connection.node_counts import NodeCounts, chosen_outputs, shares
from mica.pruners.connection.repair import repair
from mica.pruners.connection.spread import spread_connection
from mica.pruners.kinds import placing

Connect = Callable[[int, Ids, Ids, Ids, int, Draw], Ids]
"""Which edges come first, of: budget, live input nodes, their channels, outputs, all inputs' number, draw."""

_DEAD = -1
"""Stands for the channel of an input node that no signal reaches."""

Focus = Annotated[float, Field(ge=0, le=100), LATER]
FanIn = Annotated[float, Field(ge=1, le=1e6)]


@placing("mica", cost=150)
def mica(
    graph: LayerGraph,
    budget: Mapping[str, int],
    rng: np.random.Generator,
    *,
    node_counts: NodeCounts = "random",
    focus: Focus = 0.0,
    fan_in: Annotated[FanIn | None, LATER] = None,
    spread: Annotated[bool, LATER] = False,
    distinct: Annotated[bool, LATER] = False,
) -> Masks:
    """Masks with exactly the budget, built so that as many edges as possible are functional.

    1. From the output back: which channels each layer uses (`node_counts`).
    2. From the input on: a minimum connection between them, then the rest of the budget inside it.
    3. Edges that borders and strides left without a path move to where there is one (`repair`).

    Args:
        graph: the traced network.
        budget: layer name → number of edges.
        rng: the mask's random stream.
        node_counts: what to take of equation 3: any number in its range, as in the paper, or an end of it.
        focus: 0 draws all input nodes alike, as in the paper; else in proportion to this power of how many
            pixels a node brings signal to: where a map is hardly larger than the kernel, the kernel's middle.
        fan_in: in place of `node_counts`, how many edges a channel shall have on average: all layers are then
            about as wide as their own edges allow. A layer whose inputs have too few places for its edges, as
            a classifier above a narrow layer, keeps some that are not functional.
        spread: whether a layer's edges are spread evenly over all pairs of an input and an output channel, in
            place of step 2: each channel then reads as many others as its edges allow.
        distinct: whether, with a focus, each output of a minimum connection reads an input node of its own
            while there are enough, as without one: those of one channel then look at different places of it.

    Raises:
        UserError: `distinct` has nothing to change, without a focus or with `spread`.
    """
    if distinct and (spread or not focus):
        raise UserError("mica's distinct goes with a focus and without spread")
    names = channels(graph, rng)
    outputs = chosen_outputs(graph, budget, names, fan_in or node_counts, rng)
    masks: dict[str, Bools] = {}
    weights: dict[str, Weights | None] = {}

    def place(op: Op, nodes: Bits) -> Bools:
        reached = nodes.any(axis=0).ravel()
        ids = names.ids[op.inputs[0]]
        channel = np.where(reached, np.repeat(ids, len(reached) // len(ids)), _DEAD)
        layer, weights[op.name] = graph.layers[op.name], weights_of(nodes, focus)
        own = weights[op.name]
        draws = [Draw(rng, None if own is None else own[group]) for group in range(layer.groups)]
        connect = spread_connection if spread else partial(_minimum_connection, distinct=distinct)
        masks[op.name] = _place_layer(layer, budget[op.name], channel, outputs[op.name], draws, connect)
        return masks[op.name]

    nodes = input_nodes(graph, place)
    return repair(graph, masks, nodes, outputs, rng, weights)


def _place_layer(
    layer: Layer, edges: int, nodes: Ids, outputs: Ids, draws: Sequence[Draw], connect: Connect
) -> Bools:
    """One layer's mask. `nodes` holds each input node's channel, or `_DEAD`, group after group."""
    mask = np.zeros((layer.groups, layer.edges // layer.groups), dtype=bool)
    by_group = zip(mask, nodes.reshape(layer.groups, -1), shares(edges, outputs, layer), draws, strict=True)
    for group_mask, group_nodes, (share, chosen), draw in by_group:
        group_mask[_place(share, group_nodes, chosen, layer.shape[0] // layer.groups, draw, connect)] = True
    return mask.reshape(layer.shape)


def _place(edges: int, nodes: Ids, outputs: Ids, all_outputs: int, draw: Draw, connect: Connect) -> Ids:
    """Which edges to keep, as indices output · inputs + input.

    Room is taken in this order: the minimum connection, the rest of V_in × V_out, other outputs with
    live inputs, anything. Each is left only when it is full.
    """
    live, dead = np.flatnonzero(nodes != _DEAD), np.flatnonzero(nodes == _DEAD)
    others = np.setdiff1d(np.arange(all_outputs), outputs)
    placed = connect(edges, live, nodes[live], outputs, len(nodes), draw)
    for rows, columns in ((outputs, live), (others, live), (np.arange(all_outputs), dead)):
        if wanted := edges - len(placed):
            more = _fill_at_random(wanted, rows, columns, len(nodes), placed, draw)
            placed = np.concatenate([placed, more])
    return placed


def _minimum_connection(
    edges: int, live: Ids, channel: Ids, outputs: Ids, inputs: int, draw: Draw, *, distinct: bool
) -> Ids:
    """Edges that give every live input node and every chosen output a partner, most needed first.

    One random position of every live channel comes first: that alone keeps the channel's producers
    functional (paper section 3, step 1). Then inputs and outputs pair up one to one, and what the
    longer side has left goes to random members of the shorter one (step 2). With weights the other positions
    of a channel need no partner, as light ones had better stay unread; `distinct` outputs take them still.
    """
    if not len(live) or not len(outputs):
        return np.empty(0, dtype=np.int64)
    rng, order = draw.rng, draw.order(live)
    _, first_of_channel = np.unique(channel[order], return_index=True)
    rest = np.delete(order, first_of_channel)
    needed = rng.permutation(order[first_of_channel])
    outputs = rng.permutation(outputs)
    if draw.weights is not None:
        rest = rest[: max(0, len(outputs) - len(needed)) if distinct else 0]
    partners = live[np.concatenate([needed, rest])]
    longer = max(len(partners), len(outputs))
    live = np.concatenate([partners, draw.some(live, longer - len(partners))])
    outputs = np.concatenate([outputs, rng.choice(outputs, longer - len(outputs))])
    return (outputs * inputs + live)[:edges]


def _fill_at_random(wanted: int, outputs: Ids, nodes: Ids, inputs: int, placed: Ids, draw: Draw) -> Ids:
    """Up to `wanted` random edges of outputs × nodes that are not placed yet, without repeats."""
    if not len(outputs) or not len(nodes):
        return np.empty(0, dtype=np.int64)
    row = np.full(1 + max(outputs.max(), placed.max(initial=0) // inputs), -1)
    column = np.full(inputs, -1)
    row[outputs], column[nodes] = np.arange(len(outputs)), np.arange(len(nodes))
    rows, columns = row[placed // inputs], column[placed % inputs]
    inside = (rows >= 0) & (columns >= 0)
    taken = np.sort(rows[inside] * len(nodes) + columns[inside])
    cells = draw.cells(wanted, len(outputs), nodes, taken)
    cell_rows, cell_columns = np.divmod(cells, len(nodes))
    edges: Ids = outputs[cell_rows] * inputs + nodes[cell_columns]
    return edges
