"""How many channels each layer of a MiCA network uses (paper section 3, equations 1 to 3)."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from mica.apportionment import apportion
from mica.graph.channels import Ids
from mica.graph.layers import Layer, LayerGraph
from mica.pruners.connection.channel_order import Channels

NodeCounts = Literal["random", "max", "min", "only_V_in", "ignore"]
"""How MiCA chooses the number of channels that a layer uses: any in the range of equation 3, or an end of it;
any up to its upper end alone, so that the connection's inputs, V_in, have an edge each; or any at all."""


def chosen_outputs(
    graph: LayerGraph,
    budget: Mapping[str, int],
    channels: Channels,
    node_counts: NodeCounts | float,
    rng: np.random.Generator,
) -> dict[str, Ids]:
    """Layer name → the output channels that the layer is to use, |V_out| of them.

    Goes from the output back: each layer, given its own |V_out|, asks its producers for as many
    channels as its edges can read without loss; a producer grants the largest request it gets.

    Args:
        node_counts: how the request is chosen. A number is the edges that an output shall have on average:
            a layer then asks for a channel an edge, and uses no more outputs than its own edges allow.
    """
    requests = [0] * len(graph.ops)
    requests[-1] = graph.ops[-1].shape[0]
    outputs: dict[str, Ids] = {}
    last = list(graph.layers)[-1]
    for index in range(len(graph.ops) - 1, -1, -1):
        op, wanted = graph.ops[index], requests[index]
        if op.kind == "layer":
            layer = graph.layers[op.name]
            count = min(wanted, budget[op.name], layer.shape[0])
            if isinstance(node_counts, float) and op.name != last:
                count = min(count, max(1, round(budget[op.name] / node_counts)))
            outputs[op.name] = channels.first(index, count)
            sources = [
                _request(
                    layer, budget[op.name], outputs[op.name], channels.ids[op.inputs[0]], node_counts, rng
                )
            ]
        elif op.kind == "cat":
            sources = _split_request(channels.first(index, wanted), [len(channels.ids[i]) for i in op.inputs])
        else:
            sources = [wanted] * len(op.inputs)
        for source, request in zip(op.inputs, sources, strict=True):
            requests[source] = max(requests[source], request)
    return {name: outputs[name] for name in graph.layers}


def shares(edges: int, outputs: Ids, layer: Layer) -> list[tuple[int, Ids]]:
    """For each group of a convolution its edges and its chosen outputs, numbered within the group.

    Edges go to groups by their number of chosen outputs, as far as those can hold them; what is left
    goes to any group with room.
    """
    if layer.groups == 1:
        return [(edges, outputs)]
    width, room = layer.shape[0] // layer.groups, layer.edges // layer.groups
    chosen = [outputs[outputs // width == group] % width for group in range(layer.groups)]
    inside = {
        group: len(chosen[group]) * (room // width) for group in range(layer.groups) if len(chosen[group])
    }
    granted = apportion(inside, inside, min(edges, sum(inside.values())))
    spare = {g: room - granted.get(g, 0) for g in range(layer.groups) if room > granted.get(g, 0)}
    spilled = apportion(spare, spare, edges - sum(granted.values()))
    return [(granted.get(group, 0) + spilled.get(group, 0), chosen[group]) for group in range(layer.groups)]


def _request(
    layer: Layer,
    edges: int,
    outputs: Ids,
    input_ids: Ids,
    node_counts: NodeCounts | float,
    rng: np.random.Generator,
) -> int:
    """How many channels the layer asks its producer for; groups ask one by one."""
    width = len(input_ids) // layer.groups
    request = 0
    for group, (share, chosen) in enumerate(shares(edges, outputs, layer)):
        if share and len(chosen):
            available = len(np.unique(input_ids[group * width : (group + 1) * width]))
            nodes_per_channel = layer.edges // (layer.shape[0] * available)
            count = _count(share, len(chosen), available, nodes_per_channel, node_counts, rng)
            request += min(available, count)
    return request


def _count(
    edges: int,
    outputs: int,
    available: int,
    nodes_per_channel: int,
    node_counts: NodeCounts | float,
    rng: np.random.Generator,
) -> int:
    """|V_out| of the producer: between |E|/|V_out| and |E|/(k_h·k_w) (equation 3), or the least there is."""
    if isinstance(node_counts, float):
        return edges
    low, high = -(-edges // outputs), edges // nodes_per_channel
    if node_counts in ("only_V_in", "ignore"):
        most = available if node_counts == "ignore" else min(available, max(1, high))
        return int(rng.integers(1, most, endpoint=True))
    if low > high or node_counts == "min":
        return low
    return high if node_counts == "max" else int(rng.integers(low, high, endpoint=True))


def _split_request(wanted: Ids, widths: list[int]) -> list[int]:
    """A concatenation's request over its branches: where the first channels in random order happen to lie."""
    branch = np.searchsorted(np.cumsum(widths), wanted, side="right")
    return [int(count) for count in np.bincount(branch, minlength=len(widths))]
