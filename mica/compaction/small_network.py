"""A masked network ↔ the small dense network that computes the same."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from mica.compaction.needed import needed_channels, refusal
from mica.errors import TraceError
from mica.graph.channels import channel_ids
from mica.graph.tracing import Followed, follow
from mica.masks import Masks

Index = tuple[Tensor, ...]
"""For each leading dimension of a tensor the positions that the small one keeps."""


@dataclass(frozen=True)
class Compact:
    """The small network, its masks, and where its tensors lie in the full one. Names are the same."""

    model: nn.Module
    masks: Masks
    places: Mapping[str, Index]
    """Name of a parameter or buffer → its places in the full tensor of that name."""

    def gather(self, full: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of tensors of the full network's shapes the part that the small network has."""
        return {name: full[name][_grid(index)].clone() for name, index in self.places.items() if name in full}

    def scatter(self, small: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> None:
        """Write tensors of the small network's shapes into those of the full one, in place.

        For weights, batch-norm state, gradients and optimiser state alike. What the small network has
        dropped keeps its value.
        """
        with torch.no_grad():
            for name, value in small.items():
                full[name][_grid(self.places[name])] = value.to(full[name].device)


def compact(model: nn.Module, masks: Masks, input_shape: tuple[int, ...]) -> Compact:
    """The small network that computes what `model` computes under `masks`, now and while it trains.

    Edges of dropped channels are gone; the others keep their weights, with the rest of the mask still
    to be applied (`mica.apply(small.model, small.masks)`). Nothing is shared with `model`.

    Raises:
        TraceError: the network cannot be followed; it draws dropout by a function, whose mode torch's tracer
            fixes, or by AlphaDropout; or it uses one batch norm or dropout module twice.
    """
    followed = follow(model, input_shape)
    graph = followed.graph
    if reason := refusal(graph, model):
        raise TraceError(reason)
    ids = channel_ids(graph)
    keep = needed_channels(graph, ids, model, masks)
    kept = [torch.from_numpy(np.flatnonzero(keep[units])) for units in ids]
    modules: dict[str, nn.Module] = {}
    places: dict[str, Index] = {}
    small_masks: dict[str, Tensor] = {}
    for index, op in enumerate(graph.ops):
        if not op.is_module:
            continue
        module = model.get_submodule(op.name)
        if op.kind == "layer":
            layer = graph.layers[op.name]
            columns = kept[op.inputs[0]] if layer.groups == 1 else torch.arange(layer.shape[1])
            found = {"weight": (kept[index], columns), "bias": (kept[index],)}
            small_masks[op.name] = masks[op.name][_grid(found["weight"])]
            modules[op.name] = _slice(module, found)
            _resize(modules[op.name], -(-layer.groups * len(kept[index]) // layer.shape[0]))
        elif op.kind == "dropout":
            modules[op.name] = _FullWidthDropout(module, len(ids[index]), kept[index])
            found = {}
        else:
            per_channel = (len(ids[index]),)
            tensors = _tensors(module).items()
            found = {name: (kept[index],) for name, value in tensors if value.shape == per_channel}
            modules[op.name] = _slice(module, found)
        for name, value in _tensors(module).items():
            places[f"{op.name}.{name}"] = found.get(name, ()) if value.ndim else ()
    return Compact(_assemble(followed, modules), Masks(small_masks), places)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _grid(index: Index) -> tuple[Tensor, ...]:
    """Index tensors that select rows × columns, not pairs of them."""
    if len(index) == 2:
        return index[0][:, None], index[1][None, :]
    return index


def _slice(module: nn.Module, places: Mapping[str, Index]) -> nn.Module:
    """A copy of a module with its own, smaller tensors."""
    small = copy.copy(module)
    # A shallow copy shares the dictionaries that hold the tensors; these must be its own.
    small._parameters, small._buffers = dict(module._parameters), dict(module._buffers)
    for name, parameter in small._parameters.items():
        if parameter is not None:
            part = parameter.detach()[_grid(places.get(name, ()))].clone()
            small._parameters[name] = nn.Parameter(part, parameter.requires_grad)
    for name, buffer in small._buffers.items():
        if buffer is not None:
            small._buffers[name] = buffer[_grid(places.get(name, ()))].clone()
    return small


def _resize(module: nn.Module, groups: int) -> None:
    """Tell a sliced layer its new size."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.Conv2d):
        module.groups = groups
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape[0], weight.shape[1]


class _FullWidthDropout(nn.Module):
    """Draws for all channels of the full network, so that those that are left see the same draw."""

    def __init__(self, dropout: nn.Module, width: int, kept: Tensor) -> None:
        super().__init__()
        self.dropout, self.width = copy.copy(dropout), width
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        assert isinstance(self.kept, Tensor)
        ones = torch.ones(len(x), self.width, *x.shape[2:], dtype=x.dtype, device=x.device)
        factor: Tensor = self.dropout(ones)
        return x * factor[:, self.kept]


def _assemble(followed: Followed, modules: Mapping[str, nn.Module]) -> nn.Module:
    """The traced graph over the small modules."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(followed.module.graph, {}))
    for node in list(graph.nodes):
        index = followed.op_of.get(node.name)
        kind = followed.graph.ops[index].kind if index is not None else ""
        if kind == "flatten" and node.target in ("view", "reshape"):
            # `x.view(-1, 512)` names a size that is no longer true.
            with graph.inserting_before(node):
                flat = graph.call_function(torch.flatten, (node.args[0], 1))
            node.replace_all_uses_with(flat)
            graph.erase_node(node)
    small = fx.GraphModule(dict(modules), graph)
    small.graph.eliminate_dead_code()
    small.recompile()
    return small
