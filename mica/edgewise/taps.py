"""A layer's kept edges as lists that the kernels walk along."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mica.edgewise.kernels import Ints

_IN_CACHE = 4096
"""Values that a kernel sums up at a time: with a few inputs beside them they fit the first-level cache."""


class Taps(NamedTuple):
    """A convolution's kept edges, channel by channel."""

    starts: Ints
    """(channels + 1,): channel c has the edges from starts[c] up to starts[c + 1]."""
    source: Ints
    """(edges,): the channel at the other end; `dy`, `dx` and `order` likewise."""
    dy: Ints
    dx: Ints
    order: Ints
    """Which of the layer's kept weights, in row-major order."""


def taps(conv: nn.Conv2d, mask: Tensor) -> tuple[Taps, Taps]:
    """A masked convolution's taps by its outputs, and by its inputs, where they lead the other way."""
    assert not isinstance(conv.padding, str)
    unit, source, row, column = (index.numpy() for index in torch.nonzero(mask, as_tuple=True))
    source = source + unit // (conv.out_channels // conv.groups) * (conv.in_channels // conv.groups)
    dy = row * conv.dilation[0] - conv.padding[0]
    dx = column * conv.dilation[1] - conv.padding[1]
    back = np.argsort(source, kind="stable")
    return (
        Taps(_starts(unit, conv.out_channels), source, dy, dx, np.arange(len(unit))),
        Taps(_starts(source, conv.in_channels), unit[back], -dy[back], -dx[back], back),
    )


def _starts(units: Ints, count: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(units, minlength=count))])


def runs(of: Taps, columns: int, source_columns: int, images: int, strided: bool) -> Ints:
    """Stretches of an output row that all edges serve alike: (runs, 2) of first column and count.

    Inside a run no edge leaves the input, so that the run's inputs are neighbours in memory too. Columns
    near the border, and all of a strided layer, are runs of their own.
    """
    if len(of.dx) == 0 or strided:
        return _runs(columns, columns, columns, 1)
    inner = (max(0, -int(of.dx.min())), min(columns, source_columns - int(of.dx.max())))
    return _runs(columns, *inner, max(1, _IN_CACHE // images))


@lru_cache(maxsize=1024)
def _runs(columns: int, first: int, last: int, longest: int) -> Ints:
    if first >= last:
        first = last = columns
    singles = [(column, 1) for column in (*range(first), *range(last, columns))]
    inner = [(at, min(longest, last - at)) for at in range(first, last, longest)]
    return np.array(singles + inner, dtype=np.int64).reshape(-1, 2)
