"""Functional edges and nodes, exactly: unit by unit, pixel by pixel.

An edge is functional when it lies on at least one path from an input pixel to an output. Every map
here is a map of zeros and ones, as float32 because that is what convolutions take: propagating one
step counts the live neighbours of each unit (at most some thousands, so float32 counts exactly), and
the counts are cut back to zeros and ones. So nothing can overflow, however deep the network.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mica.graph import PASS_KINDS, Layer, LayerGraph, Op
from mica.masks import Masks


def functional(graph: LayerGraph, masks: Mapping[str, Tensor]) -> Masks:
    """The functional edges among those that `masks` keep (paper section 2; Vysogorets & Kempe 2023).

    Weights count as their mask, batch norm and activations as identity, pooling as a sum; biases and
    batch-norm shifts are no source of signal. Applying it twice changes nothing.

    Args:
        graph: the traced network.
        masks: layer name → bool tensor of the weight's shape.
    """
    return Masks({name: places & masks[name].cpu() for name, places in openings(graph, masks).items()})


def openings(
    graph: LayerGraph, masks: Mapping[str, Tensor], live: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """Layer name → the places where an edge is, or would be, functional given all the edges of `masks`.

    Such a place reads a unit that signal reaches and writes a unit that the output depends on.

    Args:
        live: `signal` of these masks, where it is known already.
    """
    live = live or signal(graph, masks)
    read: list[Tensor | None] = [None] * len(graph.ops)
    read[-1] = torch.ones(1, *graph.ops[-1].shape)
    found: dict[str, Tensor] = {}
    for index in range(len(graph.ops) - 1, -1, -1):
        op, reading = graph.ops[index], read[index]
        if not op.inputs:
            continue
        if reading is None:
            reading = torch.zeros(1, *op.shape)  # nothing reads this operation
        layer = graph.layers.get(op.name) if op.kind == "layer" else None
        sources = [live[i] for i in op.inputs]
        gradients, place = _backward(op, layer, sources, reading, masks)
        if layer is not None:
            assert place is not None
            found[layer.name] = place
        for source, gradient in zip(op.inputs, gradients, strict=True):
            known = read[source]
            read[source] = gradient if known is None else torch.maximum(known, gradient)
    return {name: found[name] for name in graph.layers}


def signal(graph: LayerGraph, masks: Mapping[str, Tensor]) -> list[Tensor]:
    """For each operation the 0/1 map (1, *shape) of the units that signal from the input reaches."""
    live: list[Tensor] = []
    for op in graph.ops:
        live.append(step(graph, op, [live[i] for i in op.inputs], masks))
    return live


def step(graph: LayerGraph, op: Op, sources: list[Tensor], masks: Mapping[str, Tensor]) -> Tensor:
    """One operation of `signal`: the maps of what it reads → its own map."""
    if op.kind == "input":
        return torch.ones(1, *op.shape)
    if op.kind == "output" or op.kind in PASS_KINDS:
        return sources[0]
    layer = graph.layers.get(op.name) if op.kind == "layer" else None
    weight = masks[op.name].cpu().float() if layer is not None else None
    return _cut(_count(op, layer, sources, weight))


def input_nodes(layer: Layer, live: Tensor) -> Tensor:
    """Which input nodes signal reaches, as a bool tensor (C_in, k_h, k_w), or (in,) for a linear layer.

    A convolution's input node is a (channel, kernel row, kernel column) position; it is reached when
    the channel is live at a pixel that this position reads for some output pixel.

    Args:
        live: 0/1 map (1, *layer.input_shape) of the units that signal reaches.
    """
    if not layer.is_conv:
        return live[0] > 0
    reads = unfold(layer, live)
    return reads[0].any(dim=1).view(layer.input_shape[0], *layer.shape[2:])


def unfold(layer: Layer, x: Tensor) -> Tensor:
    """What each input node of a convolution reads for each output pixel: (1, nodes, pixels) of one image."""
    padding = layer.padding
    if padding == "same":  # an odd sum of both sides' padding has the larger half right and below
        rows, columns = (d * (k - 1) for d, k in zip(layer.dilation, layer.shape[2:], strict=True))
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    sides = (0, 0) if isinstance(padding, str) else padding
    return F.unfold(x, layer.shape[2:], layer.dilation, sides, layer.stride)


def functional_node_share(graph: LayerGraph, masks: Mapping[str, Tensor]) -> float | None:
    """Of the input nodes that signal reaches, the share with a path to the output (paper section 4.7).

    Taken over all prunable layers together, once the edges that are not functional are removed.
    None when signal reaches no node at all, as in a network whose first layer is empty and read alone.
    """
    return node_share(graph, functional(graph, masks))


def node_share(graph: LayerGraph, functional_masks: Mapping[str, Tensor]) -> float | None:
    """`functional_node_share` of masks that hold functional edges only."""
    live = signal(graph, functional_masks)
    reached = used = 0
    for op in graph.ops:
        if op.kind != "layer":
            continue
        layer = graph.layers[op.name]
        nodes = input_nodes(layer, live[op.inputs[0]])
        # Edges that are functional leave live nodes only, so a used node is a reached one.
        per_group = functional_masks[op.name].unflatten(0, (layer.groups, -1)).any(dim=1)
        reached += int(nodes.sum())
        used += int(per_group.flatten(0, 1).sum())
    return used / reached if reached else None


def _backward(
    op: Op, layer: Layer | None, live: list[Tensor], reading: Tensor, masks: Mapping[str, Tensor]
) -> tuple[list[Tensor], Tensor | None]:
    """Which source units the read outputs depend on, and for a layer its open places.

    Each step is linear, so its transpose is its gradient.
    """
    if op.kind == "output" or op.kind in PASS_KINDS:
        return [reading], None
    if layer is not None:
        return _layer_backward(layer, live[0], reading, masks[layer.name])
    with torch.enable_grad():
        # `x + x` lists one tensor twice; each mention needs a gradient of its own.
        sources = [source.detach().clone().requires_grad_() for source in live]
        gradients = torch.autograd.grad(_count(op, None, sources, None), sources, reading)
    return [_cut(gradient) for gradient in gradients], None


def _layer_backward(layer: Layer, live: Tensor, reading: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
    """As matrix products, group by group; the forward step itself is not needed."""
    with torch.enable_grad():
        source = live.detach().requires_grad_()
        nodes = unfold(layer, source) if layer.is_conv else source
        nodes = nodes.reshape(layer.groups, -1, layer.positions)
    rows = reading.reshape(layer.groups, -1, layer.positions)
    weight = mask.cpu().float().view(*rows.shape[:2], -1)
    (gradient,) = torch.autograd.grad(nodes, source, torch.bmm(rows.mT, weight).mT)
    place = torch.bmm(rows, nodes.detach().mT) > 0.5
    return [_cut(gradient)], place.view(layer.shape)


def _cut(counts: Tensor) -> Tensor:
    return (counts > 0.5).float()


def _count(op: Op, layer: Layer | None, sources: list[Tensor], weight: Tensor | None) -> Tensor:
    """One linear step with non-negative coefficients: a positive result is at least 1."""
    x = sources[0]
    if layer is not None:
        assert weight is not None
        if not layer.is_conv:
            return F.linear(x, weight)
        return F.conv2d(
            x,
            weight,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    if op.kind == "pool":
        return _pool_sum(op, x)
    if op.kind == "adaptive_pool":
        # An average over at most all pixels: times their number it is at least 1 again.
        return F.adaptive_avg_pool2d(x, (op.shape[1], op.shape[2])) * x[0, 0].numel()
    if op.kind == "flatten":
        return x.flatten(1)
    if op.kind == "add":
        return torch.stack(sources).sum(dim=0)
    assert op.kind == "cat", op.kind
    return torch.cat(sources, dim=1)


def _pool_sum(op: Op, x: Tensor) -> Tensor:
    """A sum over each pooling window, the last windows of `ceil_mode` included."""
    channels = x.shape[1]
    pads: list[int] = []
    for axis in (1, 0):  # F.pad begins with the last dimension
        reach = (op.shape[1 + axis] - 1) * op.stride[axis] + op.dilation[axis] * (op.kernel[axis] - 1) + 1
        pads += [op.padding[axis], reach - op.padding[axis] - x.shape[2 + axis]]
    windows = torch.ones(channels, 1, *op.kernel)
    # A negative pad crops the pixels that no window reads.
    return F.conv2d(F.pad(x, pads), windows, stride=op.stride, dilation=op.dilation, groups=channels)
