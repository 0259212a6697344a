"""Where the tensors of a small network lie in those of the full one."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mica.compaction.needed import needed_channels, refusal
from mica.graph.channels import channel_ids
from mica.graph.layers import LayerGraph

Index = tuple[Tensor, ...]
"""For each leading dimension of a tensor the positions that the small one keeps; () for all of it."""
Units = tuple[Tensor, ...]
"""For each operation of a graph the channels of its output that are kept."""


def kept_units(
    graph: LayerGraph,
    model: nn.Module,
    masks: Mapping[str, Tensor],
    trained: Mapping[str, Tensor] | None = None,
) -> Units:
    """The channels that a small network keeps; for `trained` see `needed_channels`."""
    ids = channel_ids(graph)
    keep = needed_channels(graph, ids, model, masks, trained)
    return tuple(torch.from_numpy(np.flatnonzero(keep[units])) for units in ids)


def kept_places(
    graph: LayerGraph,
    model: nn.Module,
    masks: Mapping[str, Tensor],
    trained: Mapping[str, Tensor] | None = None,
) -> dict[str, Index]:
    """Parameter or buffer → its places that a small network keeps; the rest belongs to droppable channels.

    Only tensors that lose something are named: of a network that cannot be compacted, none.
    """
    if refusal(graph, model):
        return {}
    kept = kept_units(graph, model, masks, trained)
    places: dict[str, Index] = {}
    for index, op in enumerate(graph.ops):
        if op.is_module:
            found = places_in(graph, index, kept, model.get_submodule(op.name))
            places |= {f"{op.name}.{name}": place for name, place in found.items()}
    return places


def places_in(graph: LayerGraph, index: int, kept: Units, module: nn.Module) -> dict[str, Index]:
    """Of one operation's module: name of a tensor that has a channel a row → its places that are kept."""
    op = graph.ops[index]
    if op.kind == "dropout":
        return {}
    own = own_tensors(module)
    if op.kind == "layer":
        layer = graph.layers[op.name]
        columns = kept[op.inputs[0]] if layer.groups == 1 else torch.arange(layer.shape[1])
        places = {"weight": (kept[index], columns), "bias": (kept[index],)}
        return {name: place for name, place in places.items() if name in own}
    channels = op.shape[:1]
    return {name: (kept[index],) for name, value in own.items() if value.shape == channels}


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def grid(index: Index) -> Index:
    """Index tensors that select rows × columns, not pairs of them."""
    if len(index) == 2:
        return index[0][:, None], index[1][None, :]
    return index
