"""What one forward pass of the small network costs, without building it."""

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from mica.compaction.needed import needed_channels, refusal
from mica.graph.channels import channel_ids
from mica.graph.layers import LayerGraph


def compact_flops(graph: LayerGraph, model: nn.Module, masks: Mapping[str, Tensor]) -> int | None:
    """Floating-point operations of one image's pass through the small network, as `LayerGraph.flops` counts.

    Every edge between kept channels counts, masked or not: the small layers are dense. None where
    `mica.compact` raises `TraceError`.
    """
    if refusal(graph, model):
        return None
    ids = channel_ids(graph)
    keep = needed_channels(graph, ids, model, masks)
    edges = {}
    for index, op in enumerate(graph.ops):
        if op.kind == "layer":
            layer = graph.layers[op.name]
            # Of a grouped convolution whole groups stay, so an output reads as many inputs as before.
            inputs = np.count_nonzero(keep[ids[op.inputs[0]]]) if layer.groups == 1 else layer.shape[1]
            edges[op.name] = int(np.count_nonzero(keep[ids[index]]) * inputs) * math.prod(layer.shape[2:])
    return graph.flops(edges)
