"""Where in memory a chain's values and gradients lie, for images of a size and number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mica.edgewise.kernels import Ints
from mica.edgewise.program import Convolution, Mean, Program, Sum
from mica.edgewise.taps import runs

_LINE = 16
"""What lies in memory begins at a multiple of so many values: a cache line of float32."""
_LITTLE = 1 << 19
"""So many values stay in cache."""
_Size = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """What depends on the images, and on whether there will be a way back."""

    operations: NDArray[Any]
    """As the kernels take them; one more at the end stands for the outside, which reads the last value."""
    runs: Ints
    memory: int
    """How many values the operations read and give; the chain's input lies at the beginning."""
    gradients: int
    """Likewise on the way back."""
    output: tuple[int, ...]
    """Shape of what the chain gives, CHWN."""
    output_at: int
    """Where it lies in memory."""
    gradient_at: int
    """Where its gradient is to lie."""
    single: bool
    """Whether a batch norm has one value a channel, which has no variance."""


def lay_out(program: Program, size: _Size, images: int, *, back: bool, threads: int) -> Layout:
    """For so many images of a size, rows and columns.

    Args:
        back: whether the values that the way back needs are to be kept.
        threads: how many at most will share an operation.

    Raises:
        ValueError: values that are added are not of one size.
    """
    table, sizes, all_runs = program.table.copy(), [size], _Runs(images)
    for entry, operation, taps in zip(table, program.operations, program.taps, strict=False):
        source = sizes[operation.reads[0]]
        entry["source"] = entry["size"] = entry["pooled"] = source
        if isinstance(operation, Sum):
            if source != sizes[operation.reads[1]]:
                raise ValueError(f"values of {source} and {sizes[operation.reads[1]]} pixels are added")
        elif isinstance(operation, Mean):
            entry["size"] = entry["pooled"] = 1, 1
        elif taps:
            entry["size"] = own = _convolved(operation.conv, source)
            entry["pooled"] = own[0] // operation.pool, own[1] // operation.pool
            strided = operation.conv.stride[1] != 1
            entry["runs"] = all_runs.add(runs(taps[0], own[1], source[1], images, strided))
            values = program.channels[operation.reads[0]] * source[0] * source[1] * images
            entry["little"] = values <= _LITTLE
            entry["runs_back"] = all_runs.add(runs(taps[1], source[1], own[1], images, strided))
        rows, columns = entry["pooled"].tolist()
        sizes.append((rows, columns))
    table[-1]["source"] = table[-1]["size"] = table[-1]["pooled"] = sizes[-1]
    counts = [
        channels * rows * columns * images
        for channels, (rows, columns) in zip(program.channels, sizes, strict=True)
    ]
    memory = _place_values(program, table, counts, images, back, threads)
    gradients = _place_gradients(program, table, images, threads) if back else 0
    return Layout(
        operations=table,
        runs=all_runs.done(),
        memory=memory,
        gradients=gradients,
        output=(program.channels[-1], *sizes[-1], images),
        output_at=int(table[-2]["gives"]),
        gradient_at=int(table[-1]["gradient"]),
        single=any(_pixels(entry["size"]) * images == 1 for entry in table if entry["gamma"] >= 0),
    )


def _convolved(conv: nn.Conv2d, source: _Size) -> _Size:
    reach = [
        dilation * (kernel - 1) for dilation, kernel in zip(conv.dilation, conv.kernel_size, strict=True)
    ]
    padded = [side + 2 * padding for side, padding in zip(source, (*conv.padding,), strict=True)]
    rows, columns = ((p - r - 1) // s + 1 for p, r, s in zip(padded, reach, conv.stride, strict=True))
    return rows, columns


class _Runs:
    """All operations' runs in one list."""

    def __init__(self, images: int) -> None:
        self._found, self._count = [np.zeros((0, 2), np.int64)], 0

    def add(self, some: Ints) -> _Size:
        """Returns from where to where they are."""
        self._found.append(some)
        begin, self._count = self._count, self._count + len(some)
        return begin, self._count

    def done(self) -> Ints:
        return np.concatenate(self._found)


@dataclass
class _Life:
    """A piece of memory that is in use from one time to another, both included."""

    begin: int
    end: int
    size: int
    at: int = 0


def _place_values(
    program: Program, table: NDArray[Any], counts: Sequence[int], images: int, back: bool, threads: int
) -> int:
    """Where what the operations read and give lies; returns how much memory that takes."""
    end = len(program.operations)
    lives = [
        _Life(value - 1, end if back else program.last_read(value), count)
        for value, count in enumerate(counts)
    ]
    inner: dict[int, _Life] = {}
    for index, operation in enumerate(program.operations):
        if isinstance(operation, Convolution) and not operation.bare:
            planes = program.channels[index + 1] if back else threads
            inner[index] = _Life(
                index, end if back else index, _pixels(table[index]["size"]) * images * planes
            )
    total = _pack([*lives, *inner.values()])
    for index, operation in enumerate(program.operations):
        entry, reads = table[index], operation.reads
        entry["gives"], entry["planes"] = lives[index + 1].at, back
        entry["inner"] = inner[index].at if index in inner else entry["gives"]
        entry["reads"] = lives[reads[0]].at, lives[reads[-1]].at
    return total


def _place_gradients(program: Program, table: NDArray[Any], images: int, threads: int) -> int:
    """Where the gradients lie, by their time on the way back; returns how much memory that takes."""
    lives, planes = [], {}
    for index, entry in enumerate(table):
        # Until whatever gives the values that it reads has gathered its own.
        outside = index == len(program.operations)
        until = index - 1 if outside else min(program.operations[index].reads) - 1
        lives.append(_Life(-index, -until, _pixels(entry["size"]) * images * int(entry["channels"])))
        if entry["pool"] > 1:
            planes[index] = _Life(-index, -index, _pixels(entry["pooled"]) * images * threads)
    total = _pack([*lives, *planes.values()])
    for index, entry in enumerate(table):
        entry["gradient"] = lives[index].at
        entry["unpooled"] = planes[index].at if index in planes else 0
    return total


def _pixels(size: NDArray[np.int64]) -> int:
    return int(size[0] * size[1])


def _pack(lives: Sequence[_Life]) -> int:
    """Place each at the lowest place that is free for as long as it lives; returns the memory's size."""
    placed: list[_Life] = []
    for life in sorted(lives, key=lambda life: life.begin):
        life.at = 0
        for other in sorted(placed, key=lambda other: other.at):
            together = other.begin <= life.end and life.begin <= other.end
            if together and other.at < life.at + max(life.size, 1) and life.at < other.at + other.size:
                life.at = -(-(other.at + other.size) // _LINE) * _LINE
        placed.append(life)
    return max((life.at + life.size for life in lives), default=0)
