"""Small dense: the same network with fewer channels, the control that every sparse network has to beat."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.graph.channels import channel_ids
from mica.graph.layers import LayerGraph
from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import Network


@ranking("small_dense", needs_images=False, cost=50)
def small_dense(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Edges between the first channels of each layer score highest: ranked globally, all layers narrow alike.

    Channel c of C counts c / C, those of the input and of the output nothing, and an edge as much as the
    later of the two that it joins. So all edges between the channels that count less than some width stay,
    and of the next channels as many as are left. The initial weights are the wide network's.
    """
    graph = network.graph
    return {name: -torch.from_numpy(places).to(network.device) for name, places in _places(graph).items()}


def _places(graph: LayerGraph) -> dict[str, NDArray[np.float64]]:
    """Layer name → what each of its edges counts, of the weight's shape."""
    ids, places = channel_ids(graph), {}
    counts = np.zeros(1 + max(int(each.max()) for each in ids))
    for op, own in zip(graph.ops, ids, strict=True):
        if op.kind == "layer":
            counts[own] = np.arange(len(own)) / len(own)
    counts[ids[-1]] = 0
    for op, own in zip(graph.ops, ids, strict=True):
        if op.kind == "layer":
            layer = graph.layers[op.name]
            read = counts[ids[op.inputs[0]]].reshape(layer.groups, -1)
            read = read.repeat(layer.shape[0] // layer.groups, axis=0)
            joined = np.maximum(counts[own][:, None], read)
            kernel = layer.shape[2:]
            places[op.name] = np.broadcast_to(
                joined.reshape(*joined.shape, *(1 for _ in kernel)), layer.shape
            )
    return {name: places[name].copy() for name in graph.layers}
