"""All compiled code: convolution edge by edge; batch norm, ReLU and max pooling channel by channel.

Arrays are CHWN: (channels, rows, columns, images). A channel is normalised while it is in cache.

One file, types and compiler settings included, because numba keeps machine code by the date of the file that
a kernel stands in, and would miss a change of another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[Any]
"""float32 or float64, all arguments of a call alike."""

_PARTS = 4
"""Pieces that the channels of a row are cut into for the threads; results do not depend on it."""


_FLOATS = {"contract", "reassoc", "nsz"}
"""Sums may be reordered and multiply-adds fused; NaN and infinity stay what they are, so that a training
that diverges is seen to."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile a function whose `prange` loops run on several threads."""
    return _compiled(function, parallel=True)


def part(function: _Function) -> _Function:
    """Compile a function that kernels call, or that calls kernels."""
    return _compiled(function, parallel=False)


def _compiled(function: _Function, *, parallel: bool) -> _Function:
    for cache in (True, False):
        try:
            compiled: Any = numba.njit(parallel=parallel, nogil=True, cache=cache, fastmath=_FLOATS)(function)
            break
        except RuntimeError:  # no folder to keep machine code in: each process compiles anew
            continue
    return cast(_Function, compiled)


class Taps(NamedTuple):
    """What each output channel of a convolution reads, edge by edge.

    Output (row, column) reads input (row · stride + dy, column · stride + dx) / divisor, where that is whole
    and inside the input. A convolution has divisor 1; its transpose, which carries gradients back, has
    stride 1 and the convolution's stride as its divisor.
    """

    starts: Ints
    """(channels + 1,): the edges of output channel c are starts[c] up to starts[c + 1]."""
    source: Ints
    """(edges,): the input channel of each edge; `dy`, `dx` and `order` likewise."""
    dy: Ints
    dx: Ints
    order: Ints
    """Which of the layer's values each edge has."""
    stride: Ints
    """(2,): down and across; `divisor` likewise."""
    divisor: Ints


class Norm(NamedTuple):
    """Batch norm as the kernels take it. Arrays hold a value a channel."""

    by_batch: bool
    """Whether mean and variance are the batch's own, and written, or those that were tracked."""
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    """Biased, as batch norm divides by it."""
    gamma: Floats
    beta: Floats
    eps: float
    running_mean: Floats
    """Moves towards the batch's mean by `momentum`, and the variance towards the unbiased one."""
    running_variance: Floats
    momentum: float


@kernel
def convolve(x: Floats, taps: Taps, runs: Ints, values: Floats, bias: Floats, out: Floats) -> None:
    """out = what `taps` read of x, weighted by the edges' values, plus each channel's bias."""
    units, rows, columns, images = out.shape
    inputs, outputs = x.reshape(-1), out.reshape(-1)
    pieces = min(units, _PARTS)
    for task in prange(rows * pieces):
        row, piece = task // pieces, task % pieces
        places, edges = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
        for unit in range(piece * units // pieces, (piece + 1) * units // pieces):
            for run in range(len(runs)):
                column, length = runs[run, 0], runs[run, 1] * images
                at = ((unit * rows + row) * columns + column) * images
                found = _reach(x.shape, taps, unit, row, column, places, edges)
                _weighted_sum(inputs, places, values, edges, found, bias[unit], outputs[at : at + length])


@kernel
def edge_gradients(x: Floats, taps: Taps, runs: Ints, gradient: Floats, d_values: Floats) -> None:
    """Gradients of the edges' values, from that of the convolution's output."""
    units, rows, columns, images = gradient.shape
    inputs, outputs = x.reshape(-1), gradient.reshape(-1)
    pieces = min(units, _PARTS)
    by_row = np.zeros((rows, len(d_values)))  # each row its own sum: none waits for another's
    for task in prange(rows * pieces):
        row, piece = task // pieces, task % pieces
        places, edges = np.empty(len(d_values), np.int64), np.empty(len(d_values), np.int64)
        for unit in range(piece * units // pieces, (piece + 1) * units // pieces):
            for run in range(len(runs)):
                column, length = runs[run, 0], runs[run, 1] * images
                at = ((unit * rows + row) * columns + column) * images
                found = _reach(x.shape, taps, unit, row, column, places, edges)
                _products(inputs, places, edges, found, outputs[at : at + length], by_row[row])
    d_values[:] = by_row.sum(axis=0)


@part
def _reach(
    shape: tuple[int, ...], taps: Taps, unit: int, row: int, column: int, places: Ints, edges: Ints
) -> int:
    """How many edges of an output pixel read inside x; their places there, and those of their values."""
    _, height, width, images = shape
    strided = taps.divisor[0] > 1 or taps.divisor[1] > 1
    found = 0
    for edge in range(taps.starts[unit], taps.starts[unit + 1]):
        y, x = row * taps.stride[0] + taps.dy[edge], column * taps.stride[1] + taps.dx[edge]
        if strided:
            if y % taps.divisor[0] or x % taps.divisor[1]:
                continue
            y, x = y // taps.divisor[0], x // taps.divisor[1]
        if 0 <= y < height and 0 <= x < width:
            places[found] = ((taps.source[edge] * height + y) * width + x) * images
            edges[found] = taps.order[edge]
            found += 1
    return found


@part
def _weighted_sum(
    x: Floats, places: Ints, values: Floats, edges: Ints, count: int, start: float, out: Floats
) -> None:
    """out = start + the weighted sum of stretches of x, four in one pass over `out`."""
    length = len(out)
    out[:] = start
    done = count - count % 4
    for i in range(0, done, 4):
        a, b = x[places[i] : places[i] + length], x[places[i + 1] : places[i + 1] + length]
        c, d = x[places[i + 2] : places[i + 2] + length], x[places[i + 3] : places[i + 3] + length]
        u, v, w, z = values[edges[i]], values[edges[i + 1]], values[edges[i + 2]], values[edges[i + 3]]
        for n in range(length):
            out[n] += u * a[n] + v * b[n] + w * c[n] + z * d[n]
    for i in range(done, count):
        a, u = x[places[i] : places[i] + length], values[edges[i]]
        for n in range(length):
            out[n] += u * a[n]


@part
def _products(x: Floats, places: Ints, edges: Ints, count: int, gradient: Floats, totals: Floats) -> None:
    """Add to each edge's total the inner product of its stretch of x and the gradient."""
    length = len(gradient)
    done = count - count % 4
    for i in range(0, done, 4):
        a, b = x[places[i] : places[i] + length], x[places[i + 1] : places[i + 1] + length]
        c, d = x[places[i + 2] : places[i + 2] + length], x[places[i + 3] : places[i + 3] + length]
        u = v = w = z = gradient.dtype.type(0)
        for n in range(length):
            u += a[n] * gradient[n]
            v += b[n] * gradient[n]
            w += c[n] * gradient[n]
            z += d[n] * gradient[n]
        totals[edges[i]] += u
        totals[edges[i + 1]] += v
        totals[edges[i + 2]] += w
        totals[edges[i + 3]] += z
    for i in range(done, count):
        a = x[places[i] : places[i] + length]
        u = gradient.dtype.type(0)
        for n in range(length):
            u += a[n] * gradient[n]
        totals[edges[i]] += u


@kernel
def activate(z: Floats, norm: Norm, relu: bool, pool: int, out: Floats) -> None:
    """out = max over pool × pool pixels of ReLU of batch norm of z."""
    # numba's threads write to arrays that stand by themselves, not to those inside a tuple.
    means, variances = norm.mean, norm.variance
    running_means, running_variances = norm.running_mean, norm.running_variance
    for channel in prange(len(z)):
        if norm.by_batch:
            mean, variance = _moments(z[channel])
            means[channel], variances[channel] = mean, variance
            unbiased = variance * (z[channel].size / (z[channel].size - 1))
            running_means[channel] += norm.momentum * (mean - running_means[channel])
            running_variances[channel] += norm.momentum * (unbiased - running_variances[channel])
        middle, scale, shift = _affine(means, variances, norm, channel, z.dtype)
        if pool == 1:
            _activate(z[channel].reshape(-1), middle, scale, shift, relu, out[channel].reshape(-1))
            continue
        sign = np.sign(scale)
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                best = out[channel, row, column]
                _largest(z[channel], row * pool, column * pool, pool, sign, best)
                _activate(best, sign * middle, sign * scale, shift, relu, best)


@kernel
def activate_backward(
    gradient: Floats, z: Floats, norm: Norm, relu: bool, pool: int,
    d_z: Floats, d_gamma: Floats, d_beta: Floats,
) -> None:  # fmt: skip
    """From the gradient of `activate`'s output to those of z, gamma and beta."""
    channels, height, width, images = z.shape
    for channel in prange(channels):
        middle, scale, shift = _affine(norm.mean, norm.variance, norm, channel, z.dtype)
        plane, flat, inputs = d_z[channel], d_z[channel].reshape(-1), z[channel].reshape(-1)
        if pool == 1:
            _cut(gradient[channel].reshape(-1), inputs, middle, scale, shift, relu, flat)
        else:
            if height % pool or width % pool:
                plane[:] = 0  # rows and columns that no window takes in
            sign = np.sign(scale)
            best, left = np.empty(images, z.dtype), np.empty(images, z.dtype)
            for row in range(gradient.shape[1]):
                for column in range(gradient.shape[2]):
                    _largest(z[channel], row * pool, column * pool, pool, sign, best)
                    left[:] = gradient[channel, row, column]
                    for y in range(row * pool, (row + 1) * pool):
                        for x in range(column * pool, (column + 1) * pool):
                            _cut(left, z[channel, y, x], middle, scale, shift, relu, plane[y, x])
                            _settle(z[channel, y, x], sign, best, left, plane[y, x])
        total, along = _sums(plane, z[channel], middle)
        variance = norm.variance[channel] + norm.eps
        d_beta[channel], d_gamma[channel] = total, along / np.sqrt(variance)
        # A batch's mean and variance depend on z too: what the gradient has along them goes.
        count = height * width * images
        mean = total / count if norm.by_batch else 0.0
        slope = along / count / variance if norm.by_batch else 0.0
        _centre(flat, inputs, middle, scale, z.dtype.type(mean), z.dtype.type(slope))


@part
def _affine(
    means: Floats, variances: Floats, norm: Norm, channel: int, dtype: Any
) -> tuple[float, float, float]:
    """Batch norm of a channel as (z − middle) · scale + shift; a constant z gives the shift exactly."""
    scale = norm.gamma[channel] / np.sqrt(variances[channel] + norm.eps)
    return dtype.type(means[channel]), dtype.type(scale), dtype.type(norm.beta[channel])


@part
def _moments(plane: Floats) -> tuple[float, float]:
    """Mean and biased variance, in two passes: the channel is in cache. Exact for a constant channel."""
    rows = plane.reshape(plane.shape[0], -1)
    about = rows.dtype.type(0)
    for _ in range(2):
        total = squares = 0.0
        for row in range(len(rows)):
            a, b = _powers(rows[row], about)
            total, squares = total + a, squares + b
        before, offset = about, total / plane.size
        about = rows.dtype.type(before + offset)
    return before + offset, squares / plane.size - offset**2


@part
def _powers(row: Floats, about: float) -> tuple[float, float]:
    """Sums of the differences to a value, and of their squares."""
    total = squares = row.dtype.type(0)
    for n in range(len(row)):
        total += row[n] - about
        squares += (row[n] - about) * (row[n] - about)
    return total, squares


@part
def _activate(z: Floats, middle: float, scale: float, shift: float, relu: bool, out: Floats) -> None:
    if relu:
        for n in range(len(z)):
            value = (z[n] - middle) * scale + shift
            out[n] = 0 if value <= 0 else value  # a NaN stays one
    else:
        for n in range(len(z)):
            out[n] = (z[n] - middle) * scale + shift


@part
def _largest(plane: Floats, top: int, left: int, pool: int, sign: float, best: Floats) -> None:
    """A window's largest values of sign · z: where batch norm's output is largest, free of its rounding."""
    best[:] = -np.inf
    for y in range(top, top + pool):
        for x in range(left, left + pool):
            z = plane[y, x]
            for n in range(len(best)):
                value = sign * z[n]
                best[n] = value if value > best[n] or value != value else best[n]  # a NaN stays


@part
def _cut(
    gradient: Floats, z: Floats, middle: float, scale: float, shift: float, relu: bool, out: Floats
) -> None:
    """The gradient where ReLU lets it through."""
    for n in range(len(z)):
        out[n] = gradient[n] if not relu or (z[n] - middle) * scale + shift > 0 else 0


@part
def _settle(z: Floats, sign: float, best: Floats, left: Floats, out: Floats) -> None:
    """Only the first of a window's largest pixels keeps its gradient; none is `left` for the others."""
    for n in range(len(z)):
        hit = sign * z[n] >= best[n]
        out[n] = out[n] if hit else 0
        left[n] = 0 if hit else left[n]


@part
def _sums(plane: Floats, z: Floats, middle: float) -> tuple[float, float]:
    """Sums of the gradient, and of the gradient × (z − middle)."""
    rows, inputs = plane.reshape(plane.shape[0], -1), z.reshape(z.shape[0], -1)
    total = along = 0.0
    for row in range(len(rows)):
        a, b = _sums_of_row(rows[row], inputs[row], middle)
        total, along = total + a, along + b
    return total, along


@part
def _sums_of_row(gradient: Floats, z: Floats, middle: float) -> tuple[float, float]:
    total = along = gradient.dtype.type(0)
    for n in range(len(gradient)):
        total += gradient[n]
        along += gradient[n] * (z[n] - middle)
    return total, along


@part
def _centre(gradient: Floats, z: Floats, middle: float, scale: float, mean: float, slope: float) -> None:
    """From the gradient of batch norm's output to that of its input."""
    for n in range(len(gradient)):
        gradient[n] = scale * (gradient[n] - mean - slope * (z[n] - middle))


@part
def forward(
    x: Floats, taps: Taps, runs: Ints, values: Floats, bias: Floats,
    norm: Norm, bare: bool, relu: bool, pool: int, z: Floats, out: Floats,
) -> None:  # fmt: skip
    """A block in one call: convolution, and what follows it unless it is `bare`."""
    convolve(x, taps, runs, values, bias, z)
    if not bare:
        activate(z, norm, relu, pool, out)


@part
def backward(
    gradient: Floats, x: Floats, taps: Taps, runs: Ints, transposed: Taps, runs_back: Ints,
    values: Floats, norm: Norm, bare: bool, relu: bool, pool: int, z: Floats,
    d_z: Floats, d_x: Floats, d_values: Floats, d_gamma: Floats, d_beta: Floats,
) -> None:  # fmt: skip
    """Gradients of x (unless `d_x` is empty), values, gamma and beta, from that of `forward`'s output."""
    if not bare:
        activate_backward(gradient, z, norm, relu, pool, d_z, d_gamma, d_beta)
    edge_gradients(x, taps, runs, d_z, d_values)
    if len(d_x):
        convolve(d_z, transposed, runs_back, values, np.zeros(len(d_x), d_x.dtype), d_x)
