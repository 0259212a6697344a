"""Which channels of a masked network can ever matter while it trains."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mica.graph.channels import Ids
from mica.graph.layers import LayerGraph, Op

Flags = NDArray[np.bool_]
"""bool (channels,): a yes or no for each channel of the network."""


def needed_channels(
    graph: LayerGraph,
    ids: tuple[Ids, ...],
    model: nn.Module,
    masks: Mapping[str, Tensor],
    trained: Mapping[str, Tensor] | None = None,
) -> Flags:
    """The channels that a smaller network must keep to compute the same, gradients included.

    Coarser than functional edges: batch norm couples the pixels of a channel, so a channel that is
    read or live anywhere counts as read or live everywhere. What goes: channels that nothing reads on
    the way to the output, and channels that are exactly zero now and for ever.

    `trained`, tensors by name, are what training has made of the model's. A channel whose shift is 0 in one
    of them only is needed: one that goes may then return to the model's values and still be zero.
    """
    links = {name: _links(graph, name, masks[name]) for name in graph.layers}
    zero = _zero_for_ever(graph, ids, links, model, trained or {})
    forced = np.zeros(_count(ids), dtype=bool)
    forced[ids[0]] = True  # images come as they are
    while True:
        # What is kept for torch's sake computes its own numbers too, so it needs all that it reads.
        keep = forced | (_read(graph, ids, links, forced) & ~zero)
        formed = _well_formed(graph, ids, keep)
        if np.array_equal(formed, keep):
            return keep
        forced |= formed & ~keep


def refusal(graph: LayerGraph, model: nn.Module) -> str | None:
    """Why a network cannot be compacted; None if it can."""
    seen: set[str] = set()
    for op in graph.ops:
        if op.kind == "dropout" and not op.is_module:
            return "dropout by a function cannot be compacted: use a module such as nn.Dropout"
        if op.is_module and isinstance(model.get_submodule(op.name), nn.AlphaDropout):
            return f"module {op.name!r} (AlphaDropout) also shifts, which cannot be compacted"
        if op.kind in ("batch_norm", "dropout"):
            if op.name in seen:
                return f"module {op.name!r} is used twice, for channels of which different ones stay"
            seen.add(op.name)
    return None


def _links(graph: LayerGraph, name: str, mask: Tensor) -> NDArray[np.bool_]:
    """Which input unit (column) has an edge to which output unit (row)."""
    layer = graph.layers[name]
    per_group = mask.flatten(2).any(dim=2).cpu().numpy() if layer.is_conv else mask.cpu().numpy()
    if layer.groups == 1:
        return per_group
    links = np.zeros((layer.shape[0], layer.input_shape[0]), dtype=bool)
    rows, columns = layer.shape[0] // layer.groups, layer.shape[1]
    for group in range(layer.groups):
        part = slice(group * rows, (group + 1) * rows)
        links[part, group * columns : (group + 1) * columns] = per_group[part]
    return links


def _layers(graph: LayerGraph, ids: tuple[Ids, ...]) -> Iterator[tuple[str, Ids, Ids]]:
    """Each layer's name, input channels and output channels, in execution order."""
    for index, op in enumerate(graph.ops):
        if op.kind == "layer":
            yield op.name, ids[op.inputs[0]], ids[index]


def _read(
    graph: LayerGraph, ids: tuple[Ids, ...], links: Mapping[str, NDArray[np.bool_]], also: Flags
) -> Flags:
    """Channels with a chain of edges to the output, or to the channels `also`."""
    read = also.copy()
    read[ids[-1]] = True
    layers = list(_layers(graph, ids))
    while True:
        before = read.sum()
        for name, inputs, outputs in reversed(layers):
            read[inputs[links[name][read[outputs]].any(axis=0)]] = True
        # A shared channel may be read by an early layer and written by a late one: look again.
        if read.sum() == before:
            return read


def _zero_for_ever(
    graph: LayerGraph,
    ids: tuple[Ids, ...],
    links: Mapping[str, NDArray[np.bool_]],
    model: nn.Module,
    trained: Mapping[str, Tensor],
) -> Flags:
    """Channels that no signal reaches, and whose shifts are 0 and get no gradient.

    A shift (batch norm's, or a bias) gets none where a ReLU cuts it off at 0 before any layer reads it.
    """
    zero = np.ones(_count(ids), dtype=bool)
    zero[ids[0]] = False
    blocked = _blocked(graph, model)
    for index, op in enumerate(graph.ops):
        module = model.get_submodule(op.name) if op.kind in ("layer", "batch_norm") else None
        if op.kind == "activation" and not _is_relu(op, model):
            zero[ids[index]] = False
        for name in ("bias", "running_mean"):
            shift = getattr(module, name, None)
            if isinstance(shift, Tensor):
                now = trained.get(f"{op.name}.{name}", shift)
                still = ((shift == 0).cpu() & (now == 0).cpu()).numpy()
                zero[ids[index] if name == "bias" and not blocked[index] else ids[index][~still]] = False
    while True:
        before = zero.sum()
        for name, inputs, outputs in _layers(graph, ids):
            zero[outputs[links[name][:, ~zero[inputs]].any(axis=1)]] = False
        if zero.sum() == before:
            return zero


def _blocked(graph: LayerGraph, model: nn.Module) -> list[bool]:
    """For each operation: does every way from its output meet a ReLU before anything else that matters?"""
    blocked = [False] * len(graph.ops)
    carries_on = {"pool", "adaptive_pool", "flatten", "add", "cat", "dropout", "identity"}
    for index in range(len(graph.ops) - 1, -1, -1):
        blocked[index] = all(
            _is_relu(graph.ops[reader], model) or (graph.ops[reader].kind in carries_on and blocked[reader])
            for reader in graph.consumers[index]
        )
    blocked[-1] = False
    return blocked


def _is_relu(op: Op, model: nn.Module) -> bool:
    """Whether an operation is ReLU, as a module or as a function."""
    if op.kind != "activation":
        return False
    return isinstance(model.get_submodule(op.name), nn.ReLU) if op.is_module else op.name == "relu"


def _well_formed(graph: LayerGraph, ids: tuple[Ids, ...], keep: Flags) -> Flags:
    """Keep a little more where torch needs it: a channel for every tensor, and whole groups."""
    keep = keep.copy()
    while True:
        before = keep.sum()
        for name, inputs, outputs in _layers(graph, ids):
            layer = graph.layers[name]
            for units in (inputs, outputs):
                if not keep[units].any():
                    keep[units[0]] = True
            if layer.groups > 1:
                by_group = [units.reshape(layer.groups, -1) for units in (inputs, outputs)]
                used = np.stack([keep[units].any(axis=1) for units in by_group]).any(axis=0)
                for units in by_group:
                    keep[units[used]] = True
        if keep.sum() == before:
            return keep


def _count(ids: tuple[Ids, ...]) -> int:
    return 1 + max(int(unit.max()) for unit in ids)
