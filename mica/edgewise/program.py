"""A chain of operations as the kernels take it, but for what depends on the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from mica.edgewise.kernels import MEAN, OPERATION, SUM, Edges, Ints, Readers
from mica.edgewise.taps import Taps, taps


@dataclass(frozen=True)
class Convolution:
    """A masked convolution, then batch norm, ReLU and max pooling where there are any."""

    name: str
    conv: nn.Conv2d
    mask: Tensor
    norm_name: str = ""
    norm: nn.BatchNorm2d | None = None
    relu: bool = False
    pool: int = 1
    reads: tuple[int, ...] = (0,)
    """Which value: 0 is the chain's input, i + 1 what operation i gives."""

    @property
    def bare(self) -> bool:
        """Whether nothing follows the convolution."""
        return self.norm is None and not self.relu and self.pool == 1


@dataclass(frozen=True)
class Sum:
    """The sum of two values, then ReLU or not."""

    relu: bool = False
    reads: tuple[int, ...] = (0, 0)


@dataclass(frozen=True)
class Mean:
    """The mean of a value over all its pixels, one pixel then."""

    reads: tuple[int, ...] = (0,)
    relu: bool = False


Operation = Convolution | Sum | Mean


class Program:
    """The operations of a chain, each of which reads values that are there before it."""

    def __init__(self, operations: Sequence[Operation], channels: int) -> None:
        """`channels`: of the chain's input."""
        self.operations = operations
        self.taps: list[tuple[Taps, Taps] | None] = []
        self.parameters: dict[str, slice] = {}
        """Name → its places among all of the chain's parameters; of a weight those of its kept edges."""
        self.statistics: dict[str, slice] = {}
        """Name of a batch norm → its places among the statistics."""
        self.channels = [channels]
        self.table = np.zeros(len(operations) + 1, OPERATION)
        self.table["pool"], self.table["bias"], self.table["gamma"] = 1, -1, -1
        for entry, operation in zip(self.table, operations, strict=False):
            self._enter(entry, operation)
        self.table[-1]["kind"], self.table[-1]["channels"] = SUM, self.channels[-1]
        self.edges = self._lists(0, "starts")
        self.edges_back = self._lists(1, "starts_back")
        self.readers = self._readers()

    def _enter(self, entry: Any, operation: Operation) -> None:
        entry["relu"] = operation.relu
        if not isinstance(operation, Convolution):
            entry["kind"] = SUM if isinstance(operation, Sum) else MEAN
            entry["channels"] = self.channels[operation.reads[0]]
            self.taps.append(None)
        else:
            conv, norm = operation.conv, operation.norm
            self.taps.append(taps(conv, operation.mask))
            entry["stride"], entry["pool"], entry["channels"] = conv.stride, operation.pool, conv.out_channels
            self._take(f"{operation.name}.weight", int(operation.mask.sum()))
            if conv.bias is not None:
                entry["bias"] = self._take(f"{operation.name}.bias", conv.out_channels)
            if norm is not None:
                entry["gamma"] = self._take(f"{operation.norm_name}.weight", conv.out_channels)
                self._take(f"{operation.norm_name}.bias", conv.out_channels)
                entry["tracked"] = _behind(self.statistics)
                self.statistics[operation.norm_name] = _next(self.statistics, conv.out_channels)
                entry["eps"], entry["momentum"] = norm.eps, norm.momentum
        self.channels.append(int(entry["channels"]))

    def _take(self, name: str, count: int) -> int:
        self.parameters[name] = _next(self.parameters, count)
        return int(self.parameters[name].start)

    def _lists(self, way: int, field: str) -> Edges:
        """All convolutions' edges one way, in lists; tells the operations where theirs begin."""
        columns: list[list[Ints]] = [[np.zeros(0, np.int64)] for _ in range(5)]
        starts = edges = 0
        for entry, operation, both in zip(self.table, self.operations, self.taps, strict=False):
            if both is None or not isinstance(operation, Convolution):
                continue
            own, weights = both[way], self.parameters[f"{operation.name}.weight"]
            entry[field] = starts
            for column, part in zip(
                columns, (own.starts + edges, *own[1:4], own.order + weights.start), strict=True
            ):
                column.append(part)
            starts, edges = starts + len(own.starts), edges + len(own.source)
        return Edges(*(np.concatenate(column) for column in columns))

    def _readers(self) -> Readers:
        read: list[list[int]] = [[] for _ in self.channels]
        for index, operation in enumerate(self.operations):
            for value in operation.reads:
                read[value].append(index)
        read[-1].append(len(self.operations))
        starts = np.cumsum([0, *map(len, read)])
        return Readers(starts, np.array([index for each in read for index in each], dtype=np.int64))

    def last_read(self, value: int) -> int:
        """Which operation is the last that needs a value."""
        readers = self.readers.operation[self.readers.starts[value] : self.readers.starts[value + 1]]
        return max([value - 1, *map(int, readers)])


def _behind(places: dict[str, slice]) -> int:
    return int(next(reversed(places.values())).stop) if places else 0


def _next(places: dict[str, slice], count: int) -> slice:
    return slice(_behind(places), _behind(places) + count)
