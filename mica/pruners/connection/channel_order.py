"""In what random order MiCA uses the channels of a network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mica.graph.channels import Ids, channel_ids
from mica.graph.layers import LayerGraph


@dataclass(frozen=True)
class Channels:
    """The network's channels, and a random priority for each."""

    ids: tuple[Ids, ...]
    """For each operation of the graph the channels of its output."""
    priority: NDArray[np.float64]
    """(channels,): lower is used first. Branches that are added share one order, so they meet."""

    def first(self, op: int, count: int) -> Ids:
        """Indices of the `count` units of an operation's output that come first in its channels' order."""
        return np.argsort(self.priority[self.ids[op]], kind="stable")[:count]


def channels(graph: LayerGraph, rng: np.random.Generator) -> Channels:
    """Draw the order of a traced network's channels."""
    ids = channel_ids(graph)
    priority = rng.random(1 + max(int(unit.max()) for unit in ids))
    for index, op in enumerate(graph.ops):
        if op.kind == "layer" and graph.layers[op.name].groups > 1:
            # Outputs of a grouped convolution follow the order of the inputs of their own group.
            source = ids[op.inputs[0]]
            paired = np.arange(op.shape[0]) * len(source) // op.shape[0]
            priority[ids[index]] = priority[source[paired]]
    return Channels(ids, priority)
