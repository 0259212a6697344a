"""Many random walks at a time between the input's channels and the output's, edge by edge."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mica.graph.channels import Ids
from mica.graph.layers import Layer, LayerGraph, Op

Sizes = NDArray[np.float64]
"""Of a layer's edges, of the weight's shape: how likely a walk is to take each, but for a factor."""
Passed = dict[str, tuple[Ids, Ids]]
"""Layer name → the walks that came through it and to an end, ascending, and the edge that each took."""


class Walks:
    """Walks forward and backward; from a channel, any edge is taken in proportion to its size."""

    def __init__(self, graph: LayerGraph, sizes: Mapping[str, Sizes]) -> None:
        self._graph = graph
        self._tables = {name: _Tables(layer, sizes[name]) for name, layer in graph.layers.items()}

    def keep_to(self, layer: str, edges: Ids) -> None:
        """From now on walks take only these edges of a layer, numbered as in the flattened weight."""
        self._tables[layer].keep_to(edges)

    def forward(self, count: int, rng: np.random.Generator) -> Passed:
        """Walks from any channel of the input, each as likely, to the output."""
        graph = self._graph
        walks = _State(count, 0, rng.integers(graph.ops[0].shape[0], size=count))
        for index, readers in enumerate(graph.consumers[:-1]):
            here = np.flatnonzero(walks.at == index)
            choice = rng.integers(len(readers), size=len(here)) if readers else np.full(len(here), -1)
            for number, reader in enumerate(readers):
                self._enter(walks, here[choice == number], index, reader, rng)
            walks.at[here[choice < 0]] = _LOST
        return walks.passed(np.flatnonzero(walks.at == len(graph.ops) - 1))

    def _enter(self, walks: "_State", here: Ids, source: int, reader: int, rng: np.random.Generator) -> None:
        """Go on to an operation that reads the one where the walks are."""
        op, sources = self._graph.ops[reader], self._graph.ops
        channel = walks.channel[here]
        walks.at[here] = reader
        if op.kind == "layer":
            edges, walks.channel[here] = self._tables[op.name].forward(channel, rng)
            walks.take(op.name, here, edges)
        elif op.kind == "flatten":
            pixels = op.shape[0] // sources[source].shape[0]
            walks.channel[here] = channel * pixels + rng.integers(pixels, size=len(here))
        elif op.kind == "cat":
            begin = sum(sources[each].shape[0] for each in op.inputs[: op.inputs.index(source)])
            walks.channel[here] = channel + begin

    def backward(self, count: int, rng: np.random.Generator) -> Passed:
        """Walks from any of the outputs, each as likely, to the input."""
        ops = self._graph.ops
        walks = _State(count, len(ops) - 1, rng.integers(ops[-1].shape[0], size=count))
        for index in range(len(ops) - 1, 0, -1):
            here = np.flatnonzero(walks.at == index)
            if len(here):
                self._leave(walks, here, ops[index], rng)
        return walks.passed(np.flatnonzero(walks.at == 0))

    def _leave(self, walks: "_State", here: Ids, op: Op, rng: np.random.Generator) -> None:
        """Go back to an operation that this one reads."""
        sources, channel, branch = self._graph.ops, walks.channel[here], np.zeros(len(here), dtype=np.int64)
        edges = None
        if op.kind == "layer":
            edges, walks.channel[here] = self._tables[op.name].backward(channel, rng)
        elif op.kind == "flatten":
            walks.channel[here] = channel // (op.shape[0] // sources[op.inputs[0]].shape[0])
        elif op.kind == "cat":
            ends = np.cumsum([sources[each].shape[0] for each in op.inputs])
            branch = np.searchsorted(ends, channel, side="right")
            walks.channel[here] = channel - np.concatenate([[0], ends])[branch]
        elif op.kind == "add":
            branch = rng.integers(len(op.inputs), size=len(here))
        walks.at[here] = np.array(op.inputs)[branch]
        if edges is not None:
            walks.take(op.name, here, edges)


_LOST = -1
"""Where a walk is that found no edge to take."""


class _State:
    """Where walks are, and what they have passed."""

    def __init__(self, count: int, at: int, channel: Ids) -> None:
        self.at, self.channel = np.full(count, at), channel
        self._passed: Passed = {}

    def take(self, layer: str, here: Ids, edges: Ids) -> None:
        """These walks take these edges; those with none are lost."""
        self._passed[layer] = here[edges >= 0], edges[edges >= 0]
        self.at[here[edges < 0]] = _LOST

    def passed(self, arrived: Ids) -> Passed:
        """What the walks took that have arrived."""
        there = np.zeros(len(self.at), dtype=bool)
        there[arrived] = True
        return {n: (walks[there[walks]], edges[there[walks]]) for n, (walks, edges) in self._passed.items()}


class _Tables:
    """A layer's edges by the channel read, and by the channel written."""

    def __init__(self, layer: Layer, sizes: Sizes) -> None:
        outputs, inputs = layer.shape[:2]
        self._groups, self._outputs, self._inputs = layer.groups, outputs // layer.groups, inputs
        self._sizes = sizes.reshape(self._groups, self._outputs, self._inputs, -1)
        self._sum_up(self._sizes)

    def keep_to(self, edges: Ids) -> None:
        """From now on no other edge is taken."""
        kept = np.zeros(self._sizes.size, dtype=bool)
        kept[edges] = True
        self._sum_up(self._sizes * kept.reshape(self._sizes.shape))

    def _sum_up(self, sizes: Sizes) -> None:
        self._by_input, self._by_output = _Rows(sizes.swapaxes(1, 2)), _Rows(sizes)

    def forward(self, channel: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """The edge that each walk takes, -1 for none, and the channel that it leads to."""
        place = self._by_input.draw(channel, rng)
        kernel = self._sizes.shape[3]
        row, position = np.divmod(place, kernel)
        row, output = np.divmod(row, self._outputs)
        group, source = np.divmod(row, self._inputs)
        edge = ((group * self._outputs + output) * self._inputs + source) * kernel + position
        return np.where(place < 0, -1, edge), group * self._outputs + output

    def backward(self, channel: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """Likewise, the channels written given."""
        edge = self._by_output.draw(channel, rng)
        row, source = np.divmod(edge // self._sizes.shape[3], self._inputs)
        return edge, row // self._outputs * self._inputs + source


class _Rows:
    """Sizes (groups, rows, …) of which one a row is drawn."""

    def __init__(self, sizes: Sizes) -> None:
        self._width = sizes[0, 0].size
        self._sizes = sizes.reshape(-1)
        self._sums = np.concatenate([[0.0], self._sizes.cumsum()])

    def draw(self, rows: Ids, rng: np.random.Generator) -> Ids:
        """For each of these rows a place in the flattened sizes; -1 where a row has none above 0."""
        first = rows * self._width
        low, high = self._sums[first], self._sums[first + self._width]
        drawn = low + rng.random(len(rows)) * (high - low)
        place = self._sums.searchsorted(drawn, side="right") - 1
        place = np.clip(place, first, first + self._width - 1)
        return np.where(self._sizes[place] > 0, place, -1)
