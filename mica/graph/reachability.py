"""Functional edges and nodes, exactly: unit by unit, pixel by pixel.

An edge is functional when it lies on at least one path from an input pixel to an output. What signal
reaches, and what the output depends on, is a map of bools for each operation, of its shape, so nothing
can overflow, however deep the network. Through a layer's edges a map goes eight pixels to a byte: each
edge hands its bits on, and a unit takes the union of what it gets.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.graph.layers import PASS_KINDS, Layer, LayerGraph, Op, Shape
from mica.masks import Masks

Bools = NDArray[np.bool_]
Bits = NDArray[np.uint8]
"""uint8 (bytes, groups, units of a group): for eight output pixels of a layer at a time, a bit each."""

_PRODUCTS = 1 << 20
"""Bytes of an intermediate result that the processor's cache holds."""


def functional(graph: LayerGraph, masks: Mapping[str, Tensor]) -> Masks:
    """The functional edges among those that `masks` keep (paper section 2; Vysogorets & Kempe 2023).

    Weights count as their mask, batch norm and activations as identity, pooling as a sum; biases and
    batch-norm shifts are no source of signal. Applying it twice changes nothing.

    Args:
        graph: the traced network.
        masks: layer name → bool tensor of the weight's shape.
    """
    kept = {name: mask.cpu().numpy() for name, mask in masks.items()}
    return Masks({n: torch.from_numpy(places & kept[n]) for n, places in openings(graph, kept).items()})


def openings(
    graph: LayerGraph, masks: Mapping[str, Bools], nodes: Mapping[str, Bits] | None = None
) -> dict[str, Bools]:
    """Layer name → the places where an edge is, or would be, functional given all the edges of `masks`.

    Such a place reads a unit that signal reaches and writes a unit that the output depends on.

    Args:
        nodes: `input_nodes` of these masks, where they are known already.
    """
    nodes = nodes or input_nodes(graph, lambda op, _: masks[op.name])
    read = [np.zeros(op.shape, dtype=bool) for op in graph.ops]
    read[-1][...] = True
    found: dict[str, Bools] = {}
    for op, reading in zip(reversed(graph.ops), reversed(read), strict=True):
        if op.kind == "layer":
            layer = graph.layers[op.name]
            outputs = _pack(layer, reading)
            found[op.name] = _places(layer, outputs, nodes[op.name])
            sources = [_layer_backward(layer, outputs, masks[op.name])]
        else:
            sources = _backward(op, [graph.ops[i].shape for i in op.inputs], reading)
        for index, source in zip(op.inputs, sources, strict=True):
            read[index] |= source
    return {name: found[name] for name in graph.layers}


def input_nodes(graph: LayerGraph, mask_of: Callable[[Op, Bits], Bools]) -> dict[str, Bits]:
    """Layer name → which of its input nodes signal from the input reaches, for each output pixel.

    A convolution's input node is a (channel, kernel row, kernel column) position, a linear layer's a
    feature; they count in the order of the flattened weight.

    Args:
        mask_of: gives a layer's mask; called layer by layer in order, with the layer's own nodes.
    """
    return _signal(graph, mask_of)[0]


def live_outputs(graph: LayerGraph, masks: Mapping[str, Tensor]) -> list[int]:
    """The network's outputs that a path leads to from an input pixel, ascending."""
    kept = {name: mask.cpu().numpy() for name, mask in masks.items()}
    return [int(unit) for unit in np.flatnonzero(_signal(graph, lambda op, _: kept[op.name])[1])]


def _signal(graph: LayerGraph, mask_of: Callable[[Op, Bits], Bools]) -> tuple[dict[str, Bits], Bools]:
    """`input_nodes`, and which outputs signal reaches."""
    nodes: dict[str, Bits] = {}
    live: list[Bools] = []
    for op in graph.ops:
        sources = [live[i] for i in op.inputs]
        if op.kind == "layer":
            layer = graph.layers[op.name]
            nodes[op.name] = _pack(layer, _unfold(layer, sources[0]) if layer.is_conv else sources[0])
            live.append(_layer_forward(layer, nodes[op.name], mask_of(op, nodes[op.name])))
        else:
            live.append(_forward(op, sources))
    return nodes, live[-1]


def functional_node_share(graph: LayerGraph, masks: Mapping[str, Tensor]) -> float | None:
    """Of the input nodes that signal reaches, the share with a path to the output (paper section 4.7).

    Taken over all prunable layers together, once the edges that are not functional are removed.
    None when signal reaches no node at all, as in a network whose first layer is empty and read alone.
    """
    return node_share(graph, functional(graph, masks))


def node_share(graph: LayerGraph, functional_masks: Mapping[str, Tensor]) -> float | None:
    """`functional_node_share` of masks that hold functional edges only."""
    kept = {name: mask.cpu().numpy() for name, mask in functional_masks.items()}
    nodes = input_nodes(graph, lambda op, _: kept[op.name])
    reached = sum(np.count_nonzero(layer_nodes.any(axis=0)) for layer_nodes in nodes.values())
    # Edges that are functional leave live nodes only, so a used node is a reached one.
    used = sum(np.count_nonzero(_edges(graph.layers[name], kept[name]).any(axis=1)) for name in nodes)
    return used / reached if reached else None


def _forward(op: Op, sources: list[Bools]) -> Bools:
    """Which of an operation's units signal reaches, given those that it reads; layers apart."""
    if op.kind == "input":
        return np.ones(op.shape, dtype=bool)
    x = sources[0]
    if op.kind == "pool":
        return _unfold(_pool(op, x.shape), x).any(axis=1).reshape(op.shape)
    if op.kind == "adaptive_pool":
        pooled = np.empty(op.shape, dtype=bool)
        for pixel, window in _adaptive_windows(op, x.shape):
            pooled[pixel] = x[window].any(axis=(1, 2))
        return pooled
    if op.kind == "add":
        either: Bools = np.bitwise_or.reduce(sources)
        return either
    if op.kind == "cat":
        return np.concatenate(sources)
    assert op.kind in ("flatten", "output") or op.kind in PASS_KINDS, op.kind
    return x.reshape(op.shape)


def _backward(op: Op, shapes: list[Shape], reading: Bools) -> list[Bools]:
    """Which units of the sources, of the given shapes, the read units depend on; layers apart."""
    if op.kind == "pool":
        reads = reading.reshape(len(reading), 1, -1).repeat(math.prod(op.kernel), axis=1)
        return [_fold(_pool(op, shapes[0]), reads)]
    if op.kind == "adaptive_pool":
        source = np.zeros(shapes[0], dtype=bool)
        for pixel, window in _adaptive_windows(op, shapes[0]):
            source[window] |= reading[pixel][:, None, None]
        return [source]
    if op.kind == "cat":
        return np.split(reading, np.cumsum([shape[0] for shape in shapes])[:-1])
    return [reading.reshape(shape) for shape in shapes]


def _layer_forward(layer: Layer, nodes: Bits, mask: Bools) -> Bools:
    edges = _edges(layer, mask)
    reached = [np.bitwise_or.reduce(edges * part[:, :, None], axis=3) for part in _parts(layer, nodes)]
    return _unpack(layer, reached).reshape(layer.output_shape)


def _layer_backward(layer: Layer, outputs: Bits, mask: Bools) -> Bools:
    edges = _edges(layer, mask)
    read = [np.bitwise_or.reduce(edges * part[..., None], axis=2) for part in _parts(layer, outputs)]
    nodes = _unpack(layer, read)
    if not layer.is_conv:
        return nodes.reshape(layer.input_shape)
    return _fold(layer, nodes.reshape(layer.input_shape[0], -1, layer.positions))


def _places(layer: Layer, outputs: Bits, nodes: Bits) -> Bools:
    """Where an output and a node share a pixel, in the shape of the weight."""
    shared = np.zeros((*outputs.shape[1:], nodes.shape[2]), dtype=np.uint8)
    for rows, columns in zip(_parts(layer, outputs), _parts(layer, nodes), strict=True):
        shared |= np.bitwise_or.reduce(rows[..., None] & columns[:, :, None], axis=0)
    places: Bools = shared.reshape(layer.shape) != 0
    return places


def _edges(layer: Layer, mask: Bools) -> NDArray[np.uint8]:
    """The mask as zeros and ones (groups, outputs, nodes)."""
    return mask.reshape(layer.groups, layer.shape[0] // layer.groups, -1).view(np.uint8)


def _parts(layer: Layer, bits: Bits) -> list[Bits]:
    """As many bytes at a time as their products with all edges may take, one at least."""
    return np.array_split(bits, min(len(bits), 1 + len(bits) * layer.edges // _PRODUCTS))


def _pack(layer: Layer, units: Bools) -> Bits:
    bits = np.packbits(units.reshape(layer.groups, -1, layer.positions), axis=2)
    return np.ascontiguousarray(np.moveaxis(bits, 2, 0))


def _unpack(layer: Layer, parts: list[Bits]) -> Bools:
    """(groups, units of a group, pixels)."""
    bits = np.moveaxis(np.concatenate(parts), 0, 2)
    return np.unpackbits(bits, axis=2, count=layer.positions).view(bool)


def _unfold(layer: Layer, image: Bools) -> Bools:
    """What each kernel position reads: (channels, positions, output pixels)."""
    frame, inside = _frame(layer)
    inside[...] = image[:, : inside.shape[1], : inside.shape[2]]
    reads = np.empty((len(image), math.prod(layer.shape[2:]), *layer.output_shape[1:]), dtype=bool)
    for position, tap in enumerate(_taps(layer)):
        reads[:, position] = frame[tap]
    return reads.reshape(*reads.shape[:2], -1)


def _fold(layer: Layer, reads: Bools) -> Bools:
    """The way back: the pixels that are read."""
    frame, inside = _frame(layer)
    for position, tap in enumerate(_taps(layer)):
        frame[tap] |= reads[:, position].reshape(-1, *layer.output_shape[1:])
    image = np.zeros(layer.input_shape, dtype=bool)
    image[:, : inside.shape[1], : inside.shape[2]] = inside
    return image


def _frame(layer: Layer) -> tuple[Bools, Bools]:
    """An empty image as large as all windows together, and the part of it that is the layer's input."""
    before, reach = [], []
    for axis in (0, 1):
        span = layer.dilation[axis] * (layer.shape[2 + axis] - 1)
        given = {"same": span // 2, "valid": 0}  # of an odd span the larger half is right and below
        before.append(given[layer.padding] if isinstance(layer.padding, str) else layer.padding[axis])
        reach.append((layer.output_shape[1 + axis] - 1) * layer.stride[axis] + span + 1)
    frame = np.zeros((layer.input_shape[0], *reach), dtype=bool)
    top, left = before
    return frame, frame[:, top : top + layer.input_shape[1], left : left + layer.input_shape[2]]


def _taps(layer: Layer) -> Iterator[tuple[slice, slice, slice]]:
    """For each kernel position the pixels of the frame that it reads."""
    for row, column in np.ndindex(*layer.shape[2:]):
        yield slice(None), _tap(layer, 0, row), _tap(layer, 1, column)


def _tap(layer: Layer, axis: int, position: int) -> slice:
    begin, stride = position * layer.dilation[axis], layer.stride[axis]
    return slice(begin, begin + (layer.output_shape[1 + axis] - 1) * stride + 1, stride)


def _pool(op: Op, input_shape: Shape) -> Layer:
    """A pool's windows, as those of a convolution."""
    return Layer(
        name=op.name, shape=(1, 1, *op.kernel), input_shape=input_shape, output_shape=op.shape,
        stride=op.stride, padding=op.padding, dilation=op.dilation,
    )  # fmt: skip


def _adaptive_windows(op: Op, shape: Shape) -> Iterator[tuple[tuple[slice, int, int], tuple[slice, ...]]]:
    """For each output pixel the source pixels that it averages."""
    for pixel in np.ndindex(*op.shape[1:]):
        sides = zip(pixel, shape[1:], op.shape[1:], strict=True)
        window = (slice(at * size // count, -(-(at + 1) * size // count)) for at, size, count in sides)
        yield (slice(None), *pixel), (slice(None), *window)
