"""All compiled code: the operations of a chain, each channel by channel, convolutions edge by edge.

Arrays are CHWN: (channels, rows, columns, images). A channel is convolved, normalised and pooled while it is
in cache; on the way back it gathers its gradient, passes it on and gives the edges theirs in one go too.

One file, types included, because numba keeps machine code by the date of the file that a kernel stands in,
and would miss a change of another.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from mica.machine_code import kernel, loop, part

Ints = NDArray[np.int64]
Floats = NDArray[Any]
"""float32 or float64, all arguments of a call alike."""

_SMALL = 2**15
"""Values of an operation's output up to which one thread is done before others would have begun."""

CONVOLUTION, SUM, MEAN = range(3)
"""Kinds of operations; a mean is that over all pixels."""
OPERATION = np.dtype(
    [
        ("kind", np.int64),  # one of those below
        ("first", np.int64),  # which value it reads: 0 is the chain's input, i + 1 what operation i gives
        ("second", np.int64),  # the other one of a sum
        ("channels", np.int64),
        ("relu", np.int64),
        ("pool", np.int64),  # the windows' side; 1: none
        ("bias", np.int64),  # where its bias begins among the parameters; -1: it has none
        ("gamma", np.int64),  # likewise of batch norm; beta behind it
        ("tracked", np.int64),  # where batch norm's statistics begin
        ("starts", np.int64),  # where the first channel's begins among the starts of edges
        ("starts_back", np.int64),  # likewise by the channel read
        ("stride", np.int64, (2,)),
        ("eps", np.float64),
        ("momentum", np.float64),
        # The rest depends on the images' size and number.
        ("source", np.int64, (2,)),  # rows and columns of what it reads
        ("size", np.int64, (2,)),  # rows and columns before pooling
        ("pooled", np.int64, (2,)),  # and after
        ("reads", np.int64, (2,)),  # where in memory the values that it reads lie
        ("inner", np.int64),  # where in memory its values before batch norm lie
        ("planes", np.int64),  # 1: those of each channel; 0: of one channel for each thread
        ("little", np.int64),  # 1: all that it reads stays in cache from one channel to the next
        ("gives", np.int64),  # where in memory what it gives lies
        ("gradient", np.int64),  # where the gradient of its values before batch norm lies
        ("unpooled", np.int64),  # where a plane for each thread lies, of the gradient of what it gives
        ("runs", np.int64, (2,)),  # from where to where its runs are
        ("runs_back", np.int64, (2,)),
    ]
)  # fmt: skip
"""One operation of a chain, as the kernels take it."""


class Edges(NamedTuple):
    """The edges of all convolutions of a chain, channel by channel.

    Output (row, column) reads input (row · stride + dy, column · stride + dx). On the way back, which goes by
    the channel read, those take the place of each other, and a stride divides.
    """

    starts: Ints
    """An operation's channel c has the edges from starts[operation.starts + c] up to the next."""
    source: Ints
    """(edges,): the channel at the other end of each edge; `dy`, `dx` and `order` likewise."""
    dy: Ints
    dx: Ints
    order: Ints
    """Which of the parameters is the edge's weight."""


class Readers(NamedTuple):
    """Which operations read each of a chain's values."""

    starts: Ints
    """(values + 1,)"""
    operation: Ints


@part
def _reach(
    edges: Edges, begin: int, end: int, row: int, column: int, height: int, width: int, images: int,
    places: Ints, orders: Ints,
) -> int:  # fmt: skip
    """Where a channel's edges lead from a pixel, edges that leave the image left out; returns how many."""
    found = 0
    for edge in range(begin, end):
        y, x = row + edges.dy[edge], column + edges.dx[edge]
        if 0 <= y < height and 0 <= x < width:
            places[found] = ((edges.source[edge] * height + y) * width + x) * images
            orders[found] = edges.order[edge]
            found += 1
    return found


@part
def _reach_back(
    edges: Edges, begin: int, end: int, row: int, column: int, height: int, width: int, images: int,
    down: int, across: int, places: Ints, orders: Ints,
) -> int:  # fmt: skip
    """The same on the way back: only what a strided convolution has read leads anywhere."""
    found = 0
    for edge in range(begin, end):
        y, x = row + edges.dy[edge], column + edges.dx[edge]
        if y % down or x % across:
            continue
        y, x = y // down, x // across
        if 0 <= y < height and 0 <= x < width:
            places[found] = ((edges.source[edge] * height + y) * width + x) * images
            orders[found] = edges.order[edge]
            found += 1
    return found


@part
def _weighted_sum(
    x: Floats, places: Ints, parameters: Floats, orders: Ints, count: int, start: float, onto: bool,
    out: Floats,
) -> None:  # fmt: skip
    """out = start + the weighted sum of stretches of x, or what `out` was `onto` that; four in a pass."""
    length = len(out)
    nothing = out.dtype.type(0)
    for i in range(0, max(count, 1), 4):
        # Where fewer are left, the last of them counts for the others, with weight 0.
        some = min(count - i, 4)
        if some <= 0:
            if not onto:
                out[:] = start
            return
        j, k, m = i + min(1, some - 1), i + min(2, some - 1), i + min(3, some - 1)
        a, b = x[places[i] : places[i] + length], x[places[j] : places[j] + length]
        c, d = x[places[k] : places[k] + length], x[places[m] : places[m] + length]
        u = parameters[orders[i]]
        v = parameters[orders[j]] if some > 1 else nothing
        w = parameters[orders[k]] if some > 2 else nothing
        z = parameters[orders[m]] if some > 3 else nothing
        if onto or i:
            if some == 1:
                for n in range(length):
                    out[n] += u * a[n]
            elif some == 2:
                for n in range(length):
                    out[n] += u * a[n] + v * b[n]
            else:
                for n in range(length):
                    out[n] += u * a[n] + v * b[n] + w * c[n] + z * d[n]
        elif some == 1:
            for n in range(length):
                out[n] = start + u * a[n]
        elif some == 2:
            for n in range(length):
                out[n] = start + u * a[n] + v * b[n]
        else:
            for n in range(length):
                out[n] = start + u * a[n] + v * b[n] + w * c[n] + z * d[n]


@part
def _add_products(
    x: Floats, places: Ints, orders: Ints, count: int, gradient: Floats, totals: Floats
) -> None:
    """Add to each edge's total the inner product of its stretch of x and the gradient."""
    length = len(gradient)
    for i in range(0, count, 4):
        some = min(count - i, 4)
        j, k, m = i + min(1, some - 1), i + min(2, some - 1), i + min(3, some - 1)
        a, b = x[places[i] : places[i] + length], x[places[j] : places[j] + length]
        c, d = x[places[k] : places[k] + length], x[places[m] : places[m] + length]
        u = v = w = z = gradient.dtype.type(0)
        if some == 1:
            for n in range(length):
                u += a[n] * gradient[n]
        elif some == 2:
            for n in range(length):
                u += a[n] * gradient[n]
                v += b[n] * gradient[n]
        else:
            for n in range(length):
                u += a[n] * gradient[n]
                v += b[n] * gradient[n]
                w += c[n] * gradient[n]
                z += d[n] * gradient[n]
        totals[orders[i]] += u
        if some > 1:
            totals[orders[j]] += v
        if some > 2:
            totals[orders[k]] += w
        if some > 3:
            totals[orders[m]] += z


@part
def _convolve(
    op: Any, first: int, last: int, edges: Edges, runs: Ints, parameters: Floats, memory: Floats, images: int,
    out: Floats,
) -> None:  # fmt: skip
    """out = what the edges of some channels read, weighted, plus their biases.

    Row by row, so that what all these channels read of a row is in cache.
    """
    starts, size = edges.starts[op["starts"] :], len(out) // (last - first)
    height, width, columns = op["source"][0], op["source"][1], op["size"][1]
    inputs = memory[op["reads"][0] :]
    most = starts[last] - starts[first]
    places, orders = np.empty(most, np.int64), np.empty(most, np.int64)
    for row in range(op["size"][0]):
        for run in range(op["runs"][0], op["runs"][1]):
            column, length = runs[run, 0], runs[run, 1] * images
            for channel in range(first, last):
                start = parameters[op["bias"] + channel] if op["bias"] >= 0 else out.dtype.type(0)
                at = (channel - first) * size + (row * columns + column) * images
                found = _reach(
                    edges, starts[channel], starts[channel + 1], row * op["stride"][0],
                    column * op["stride"][1], height, width, images, places, orders,
                )  # fmt: skip
                _weighted_sum(inputs, places, parameters, orders, found, start, False, out[at : at + length])


@part
def _give_edges(
    op: Any, first: int, last: int, edges: Edges, runs: Ints, memory: Floats, images: int, gradient: Floats,
    totals: Floats,
) -> None:  # fmt: skip
    """The gradients of some channels' edges, from that of what they give; row by row likewise."""
    starts, size = edges.starts[op["starts"] :], len(gradient) // (last - first)
    height, width, columns = op["source"][0], op["source"][1], op["size"][1]
    inputs = memory[op["reads"][0] :]
    most = starts[last] - starts[first]
    places, orders = np.empty(most, np.int64), np.empty(most, np.int64)
    for row in range(op["size"][0]):
        for run in range(op["runs"][0], op["runs"][1]):
            column, length = runs[run, 0], runs[run, 1] * images
            for channel in range(first, last):
                at = (channel - first) * size + (row * columns + column) * images
                found = _reach(
                    edges, starts[channel], starts[channel + 1], row * op["stride"][0],
                    column * op["stride"][1], height, width, images, places, orders,
                )  # fmt: skip
                _add_products(inputs, places, orders, found, gradient[at : at + length], totals)


@part
def _take(gradient: Floats, onto: bool, out: Floats) -> None:
    if onto:
        for n in range(len(out)):
            out[n] += gradient[n]
    else:
        for n in range(len(out)):  # `out[:] = gradient` takes two seconds to compile
            out[n] = gradient[n]


@part
def _spread(gradient: Floats, onto: bool, out: Floats) -> None:
    """The gradient of a mean, to all pixels alike."""
    images, share = len(gradient), out.dtype.type(len(gradient) / len(out))
    for at in range(0, len(out), images):
        for n in range(images):
            out[at + n] = (out[at + n] if onto else out.dtype.type(0)) + share * gradient[n]


@part
def _gather(
    value: int, first: int, last: int, operations: Any, readers: Readers, edges: Edges, runs: Ints,
    parameters: Floats, gradients: Floats, images: int, out: Floats,
) -> None:  # fmt: skip
    """out = the gradients of some channels of one of the chain's values, from those of its readers."""
    size = len(out) // (last - first)
    begin, end = readers.starts[value], readers.starts[value + 1]
    if begin == end:
        out[:] = 0
    for reader in range(begin, end):
        onto = reader > begin
        op = operations[readers.operation[reader]]
        if op["kind"] == CONVOLUTION:
            _gather_edges(op, first, last, edges, runs, parameters, gradients, images, onto, out)
            continue
        given = size if op["kind"] == SUM else images
        for channel in range(first, last):
            at, to = op["gradient"] + channel * given, (channel - first) * size
            if op["kind"] == SUM:
                _take(gradients[at : at + given], onto, out[to : to + size])
            else:
                _spread(gradients[at : at + given], onto, out[to : to + size])


@part
def _gather_edges(
    op: Any, first: int, last: int, edges: Edges, runs: Ints, parameters: Floats, gradients: Floats,
    images: int, onto: bool, out: Floats,
) -> None:  # fmt: skip
    starts, size = edges.starts[op["starts_back"] :], len(out) // (last - first)
    width = op["source"][1]
    inputs = gradients[op["gradient"] :]
    most = starts[last] - starts[first]
    places, orders = np.empty(most, np.int64), np.empty(most, np.int64)
    for row in range(op["source"][0]):
        for run in range(op["runs_back"][0], op["runs_back"][1]):
            column, length = runs[run, 0], runs[run, 1] * images
            for channel in range(first, last):
                at = (channel - first) * size + (row * width + column) * images
                found = _reach_back(
                    edges, starts[channel], starts[channel + 1], row, column, op["size"][0], op["size"][1],
                    images, op["stride"][0], op["stride"][1], places, orders,
                )  # fmt: skip
                _weighted_sum(
                    inputs, places, parameters, orders, found, out.dtype.type(0), onto,
                    out[at : at + length],
                )  # fmt: skip


@part
def _affine(
    means: Floats, variances: Floats, op: Any, channel: int, parameters: Floats
) -> tuple[float, float, float]:
    """Batch norm of a channel as (z − middle) · scale + shift; a constant z gives the shift exactly."""
    kind = parameters.dtype.type
    if op["gamma"] < 0:
        return kind(0), kind(1), kind(0)
    at = op["tracked"] + channel
    scale = parameters[op["gamma"] + channel] / np.sqrt(variances[at] + op["eps"])
    return kind(means[at]), kind(scale), kind(parameters[op["gamma"] + op["channels"] + channel])


@part
def _moments(z: Floats, stretch: int) -> tuple[float, float]:
    """Mean and biased variance, in two passes: the channel is in cache. Exact for a constant channel."""
    about = z.dtype.type(0)
    for _ in range(2):
        total = squares = 0.0
        for begin in range(0, len(z), stretch):
            a, b = _powers(z[begin : begin + stretch], about)
            total, squares = total + a, squares + b
        before, offset = about, total / len(z)
        about = z.dtype.type(before + offset)
    return before + offset, squares / len(z) - offset**2


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
def _cut_and_sum(
    gradient: Floats, z: Floats, middle: float, scale: float, shift: float, relu: bool
) -> tuple[float, float]:
    """The same in place, and the sums of `_sums_of`, in one pass."""
    total = along = gradient.dtype.type(0)
    for n in range(len(z)):
        value = gradient[n] if not relu or (z[n] - middle) * scale + shift > 0 else gradient.dtype.type(0)
        gradient[n] = value
        total += value
        along += value * (z[n] - middle)
    return total, along


@part
def _settle(z: Floats, sign: float, best: Floats, left: Floats, out: Floats) -> None:
    """Only the first of a window's largest pixels keeps its gradient; none is `left` for the others."""
    for n in range(len(z)):
        hit = sign * z[n] >= best[n]
        out[n] = out[n] if hit else 0
        left[n] = 0 if hit else left[n]


@part
def _sums_of(gradient: Floats, z: Floats, middle: float) -> tuple[float, float]:
    """Sums of the gradient, and of the gradient × (z − middle)."""
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
def _normalise(
    op: Any, channel: int, z: Floats, parameters: Floats, means: Floats, variances: Floats, tracked: Floats,
    training: bool, images: int, out: Floats,
) -> None:  # fmt: skip
    """out = max over windows of ReLU of batch norm of z, which is one channel."""
    at = op["tracked"] + channel
    if op["gamma"] >= 0 and training:
        mean, variance = _moments(z, op["size"][1] * images)
        means[at], variances[at] = mean, variance
        unbiased = variance * (len(z) / (len(z) - 1))
        tracked[0, at] += op["momentum"] * (mean - tracked[0, at])
        tracked[1, at] += op["momentum"] * (unbiased - tracked[1, at])
    elif op["gamma"] >= 0:
        means[at], variances[at] = tracked[0, at], tracked[1, at]
    middle, scale, shift = _affine(means, variances, op, channel, parameters)
    pool, relu = op["pool"], op["relu"] == 1
    if pool == 1:
        _activate(z, middle, scale, shift, relu, out)
        return
    sign = np.sign(scale)
    plane, windows = (
        _plane(op["size"][0], op["size"][1], z, images),
        _plane(op["pooled"][0], op["pooled"][1], out, images),
    )
    for row in range(len(windows)):
        for column in range(windows.shape[1]):
            best = windows[row, column]
            _largest(plane, row * pool, column * pool, pool, sign, best)
            _activate(best, sign * middle, sign * scale, shift, relu, best)


@part
def _plane(rows: int, columns: int, flat: Floats, images: int) -> Floats:
    return flat.reshape(rows, columns, images)


@part
def _denormalise(
    op: Any, channel: int, gradient: Floats, z: Floats, parameters: Floats, means: Floats, variances: Floats,
    training: bool, images: int, d_z: Floats, d_parameters: Floats,
) -> None:  # fmt: skip
    """From the gradient of what a channel gives to those of z, of gamma and of beta.

    `gradient` is `d_z` where nothing is pooled.
    """
    middle, scale, shift = _affine(means, variances, op, channel, parameters)
    relu, stretch = op["relu"] == 1, op["size"][1] * images
    if op["pool"] > 1:
        _unpool(op, gradient, z, middle, scale, shift, images, d_z)
    total = along = 0.0
    for at in range(0, len(z), stretch):
        row, inputs = d_z[at : at + stretch], z[at : at + stretch]
        if op["pool"] > 1:
            a, b = _sums_of(row, inputs, middle)
        else:
            a, b = _cut_and_sum(row, inputs, middle, scale, shift, relu)
        total, along = total + a, along + b
    if op["gamma"] < 0:
        return
    variance = variances[op["tracked"] + channel] + op["eps"]
    d_parameters[op["gamma"] + channel] = along / np.sqrt(variance)
    d_parameters[op["gamma"] + op["channels"] + channel] = total
    # A batch's mean and variance depend on z too: what the gradient has along them goes.
    kind = z.dtype.type
    mean = kind(total / len(z) if training else 0.0)
    slope = kind(along / len(z) / variance if training else 0.0)
    _centre(d_z, z, middle, scale, mean, slope)


@part
def _unpool(
    op: Any, gradient: Floats, z: Floats, middle: float, scale: float, shift: float, images: int, d_z: Floats
) -> None:
    pool, relu, sign = op["pool"], op["relu"] == 1, np.sign(scale)
    plane, windows = (
        _plane(op["size"][0], op["size"][1], z, images),
        _plane(op["pooled"][0], op["pooled"][1], gradient, images),
    )
    out = _plane(op["size"][0], op["size"][1], d_z, images)
    if op["size"][0] % pool or op["size"][1] % pool:
        d_z[:] = 0  # rows and columns that no window takes in
    best, left = np.empty(images, z.dtype), np.empty(images, z.dtype)
    for row in range(len(windows)):
        for column in range(windows.shape[1]):
            _largest(plane, row * pool, column * pool, pool, sign, best)
            _take(windows[row, column], False, left)
            for y in range(row * pool, (row + 1) * pool):
                for x in range(column * pool, (column + 1) * pool):
                    _cut(left, plane[y, x], middle, scale, shift, relu, out[y, x])
                    _settle(plane[y, x], sign, best, left, out[y, x])


@part
def _add(a: Floats, b: Floats, relu: bool, out: Floats) -> None:
    for n in range(len(out)):
        value = a[n] + b[n]
        out[n] = 0 if relu and value <= 0 else value


@part
def _average(x: Floats, out: Floats) -> None:
    out[:] = 0
    for at in range(0, len(x), len(out)):
        for n in range(len(out)):
            out[n] += x[at + n]
    share = out.dtype.type(len(out) / len(x))
    for n in range(len(out)):
        out[n] *= share


@part
def _keep(gradient: Floats, out: Floats) -> None:
    """Of a gradient what comes through a ReLU that gave `out`."""
    for n in range(len(out)):
        gradient[n] = gradient[n] if out[n] > 0 else 0


@part
def _forward_piece(
    op: Any, edges: Edges, runs: Ints, parameters: Floats, means: Floats, variances: Floats, tracked: Floats,
    memory: Floats, training: bool, images: int, piece: int, pieces: int,
) -> None:  # fmt: skip
    """Some of an operation's channels, in one thread."""
    inner, given = op["size"][0] * op["size"][1] * images, op["pooled"][0] * op["pooled"][1] * images
    first, last = piece * op["channels"] // pieces, (piece + 1) * op["channels"] // pieces
    bare = op["inner"] == op["gives"]
    if first == last:
        return
    rows = op["kind"] == CONVOLUTION and op["planes"] and not op["little"]
    if op["kind"] == CONVOLUTION and (bare or rows):
        begin, end = op["inner"] + first * inner, op["inner"] + last * inner
        _convolve(op, first, last, edges, runs, parameters, memory, images, memory[begin:end])
        if bare:
            return
    for channel in range(first, last):
        at = op["gives"] + channel * given
        out = memory[at : at + given]
        if op["kind"] == MEAN:
            source = op["source"][0] * op["source"][1] * images
            at = op["reads"][0] + channel * source
            _average(memory[at : at + source], out)
            continue
        if op["kind"] == SUM:
            a, b = op["reads"][0] + channel * given, op["reads"][1] + channel * given
            _add(memory[a : a + given], memory[b : b + given], op["relu"] == 1, out)
            continue
        at = op["inner"] + (channel if op["planes"] else piece) * inner
        z = memory[at : at + inner]
        if not rows:
            _convolve(op, channel, channel + 1, edges, runs, parameters, memory, images, z)
        _normalise(op, channel, z, parameters, means, variances, tracked, training, images, out)


@part
def _backward_piece(
    index: int, operations: Any, readers: Readers, edges: Edges, back: Edges, runs: Ints, parameters: Floats,
    means: Floats, variances: Floats, memory: Floats, gradients: Floats, training: bool, images: int,
    d_parameters: Floats, piece: int, pieces: int,
) -> None:  # fmt: skip
    """Likewise on the way back: the channels' gradients, then those of their parameters."""
    op = operations[index]
    inner, given = op["size"][0] * op["size"][1] * images, op["pooled"][0] * op["pooled"][1] * images
    first, last = piece * op["channels"] // pieces, (piece + 1) * op["channels"] // pieces
    if first == last:
        return
    d_all = gradients[op["gradient"] + first * inner : op["gradient"] + last * inner]
    pooled, normed = op["pool"] > 1, op["inner"] != op["gives"]
    if not pooled:
        _gather(index + 1, first, last, operations, readers, back, runs, parameters, gradients, images, d_all)
    for channel in range(first, last):
        d_z = d_all[(channel - first) * inner : (channel - first + 1) * inner]
        gradient = d_z
        if pooled:
            at = op["unpooled"] + piece * given
            gradient = gradients[at : at + given]
            _gather(
                index + 1, channel, channel + 1, operations, readers, back, runs, parameters, gradients,
                images, gradient,
            )  # fmt: skip
        if op["kind"] != CONVOLUTION:
            at = op["gives"] + channel * given
            if op["relu"]:
                _keep(d_z, memory[at : at + given])
            continue
        if normed:
            at = op["inner"] + channel * inner
            z = memory[at : at + inner]
            _denormalise(
                op, channel, gradient, z, parameters, means, variances, training, images, d_z, d_parameters
            )  # fmt: skip
        if op["bias"] >= 0:
            d_parameters[op["bias"] + channel] = _total(d_z, op["size"][1] * images)
        if op["little"]:
            _give_edges(op, channel, channel + 1, edges, runs, memory, images, d_z, d_parameters)
    if op["kind"] == CONVOLUTION and not op["little"]:
        _give_edges(op, first, last, edges, runs, memory, images, d_all, d_parameters)


@part
def _total(x: Floats, stretch: int) -> float:
    total = 0.0
    for begin in range(0, len(x), stretch):
        total += x[begin : begin + stretch].sum()
    return total


@part
def _index(number: int) -> int:
    """As int64: for a constant or an unsigned counter numba would compile what takes it once more."""
    return np.int64(number)  # type: ignore[return-value]


@part
def _pieces(op: Any, images: int, threads: int) -> int:
    """How many threads share an operation's channels."""
    values = op["channels"] * op["size"][0] * op["size"][1] * images
    return min(threads, op["channels"]) if values > _SMALL else 1


@kernel
def forward(
    operations: Any, edges: Edges, runs: Ints, parameters: Floats, means: Floats, variances: Floats,
    tracked: Floats, memory: Floats, training: bool, images: int, threads: int,
) -> None:  # fmt: skip
    """All operations of a chain, one after another."""
    for index in range(len(operations) - 1):
        pieces = _pieces(operations[index], images, threads)
        if pieces == 1:
            _forward_piece(
                operations[index], edges, runs, parameters, means, variances, tracked, memory, training,
                images, _index(0), pieces,
            )  # fmt: skip
            continue
        for piece in prange(pieces):
            _forward_piece(
                operations[index], edges, runs, parameters, means, variances, tracked, memory, training,
                images, _index(piece), pieces,
            )  # fmt: skip


@kernel
def backward(
    operations: Any, readers: Readers, edges: Edges, back: Edges, runs: Ints, parameters: Floats,
    means: Floats, variances: Floats, memory: Floats, gradients: Floats, training: bool, images: int,
    threads: int, d_parameters: Floats, d_input: Floats,
) -> None:  # fmt: skip
    """All parameters' gradients, and the input's unless `d_input` is empty, from the output's.

    That lies in `gradients` where the last of the operations, which stands for the outside, has its own.
    """
    for index in range(len(operations) - 2, -1, -1):
        pieces = _pieces(operations[index], images, threads)
        if pieces == 1:
            _backward_piece(
                index, operations, readers, edges, back, runs, parameters, means, variances, memory,
                gradients, training, images, d_parameters, _index(0), pieces,
            )  # fmt: skip
            continue
        for piece in prange(pieces):
            _backward_piece(
                index, operations, readers, edges, back, runs, parameters, means, variances, memory,
                gradients, training, images, d_parameters, _index(piece), pieces,
            )  # fmt: skip
    if len(d_input):
        for index in prange(len(d_input)):
            channel = _index(index)
            _gather(
                _index(0), channel, channel + 1, operations, readers, back, runs, parameters, gradients,
                images, d_input[channel],
            )  # fmt: skip


@part
def _loss(logits: Floats, labels: Ints, gradient: Floats, totals: Floats) -> None:
    """Cross-entropy: adds its sum, and the hits among the first and the first five, to `totals`.

    Logits and their gradient are (classes, images); the gradient is that of the mean. Of equal logits the
    lower class comes first.
    """
    classes, images = logits.shape
    for image in range(images):
        label = labels[image]
        own, largest = logits[label, image], logits[0, image]
        for c in range(1, classes):
            largest = max(largest, logits[c, image])
        total, ahead = 0.0, 0
        for c in range(classes):
            logit = logits[c, image]
            total += np.exp(np.float64(logit) - largest)
            ahead += logit > own or (logit == own and c < label)
        for c in range(classes):
            share = np.exp(np.float64(logits[c, image]) - largest) / total
            gradient[c, image] = (share - (c == label)) / images
        totals[0] += np.log(total) + largest - own
        totals[1] += ahead < 1
        totals[2] += ahead < 5


@part
def _descend(
    parameters: Floats, d_parameters: Floats, momentum: Floats, rate: float, factor: float, decay: float,
    nesterov: bool,
) -> None:  # fmt: skip
    """A step of SGD with momentum and weight decay, in place."""
    kind = parameters.dtype.type
    lr, mu, weight = kind(rate), kind(factor), kind(decay)
    for i in range(len(parameters)):
        gradient = kind(d_parameters[i]) + weight * parameters[i]
        momentum[i] = mu * momentum[i] + gradient
        parameters[i] -= lr * (gradient + mu * momentum[i] if nesterov else momentum[i])


@loop
def learn(
    operations: Any, readers: Readers, edges: Edges, back: Edges, runs: Ints, parameters: Floats,
    means: Floats, variances: Floats, tracked: Floats, memory: Floats, gradients: Floats, images: int,
    threads: int, labels: Ints, classes: int, d_parameters: Floats, momentum: Floats, rate: float,
    factor: float, decay: float, nesterov: bool, totals: Floats,
) -> None:  # fmt: skip
    """A whole step of training: there, loss, back, descent; adds to `totals` what `_loss` does."""
    training = images > 0  # always, but not a constant: of each constant forward and backward make a version
    forward(operations, edges, runs, parameters, means, variances, tracked, memory, training, images, threads)
    last, outside = operations[len(operations) - 2], operations[len(operations) - 1]
    size = classes * images
    logits = memory[last["gives"] : last["gives"] + size].reshape(classes, images)
    gradient = gradients[outside["gradient"] : outside["gradient"] + size].reshape(classes, images)
    _loss(logits, labels, gradient, totals)
    d_parameters[:] = 0
    backward(
        operations, readers, edges, back, runs, parameters, means, variances, memory, gradients, training,
        images, threads, d_parameters, gradients[:0].reshape(0, 0),
    )  # fmt: skip
    _descend(parameters, d_parameters, momentum, rate, factor, decay, nesterov)
