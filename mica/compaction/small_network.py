"""A masked network ↔ the small dense network that computes the same."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from mica.compaction.needed import refusal
from mica.compaction.places import Index, grid, kept_units, own_tensors, places_in
from mica.errors import TraceError
from mica.graph.layers import LayerGraph, Traced
from mica.graph.tracing import traced
from mica.masks import Masks


@dataclass(frozen=True)
class Compact:
    """The small network, its masks, and where its tensors lie in the full one. Names are the same."""

    model: nn.Module
    masks: Masks
    places: Mapping[str, Index]
    """Name of a parameter or buffer → its places in the full tensor of that name."""

    def scatter(self, small: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> None:
        """Write tensors of the small network's shapes into those of the full one, in place.

        What the small network has dropped keeps its value.
        """
        with torch.no_grad():
            for name, value in small.items():
                full[name][grid(self.places[name])] = value.to(full[name].device)


def compact(
    model: nn.Module, masks: Masks, graph: LayerGraph, trained: Mapping[str, Tensor] | None = None
) -> Compact:
    """The small network that computes what `model` computes under `masks`, now and while it trains.

    Edges of dropped channels are gone; the others keep their weights, with the rest of the mask still
    to be applied (`mica.apply(small.model, small.masks)`). Nothing is shared with `model`.

    Args:
        model: the network.
        masks: of all its layers.
        graph: the network's, from `mica.trace`.
        trained: tensors by name that the small network will be given in place of the model's, if any: a
            channel goes only if it may with either.

    Raises:
        TraceError: the network draws dropout by a function, whose mode torch's tracer fixes, or by
            AlphaDropout; or it uses one batch norm or dropout module twice.
    """
    if reason := refusal(graph, model):
        raise TraceError(reason)
    kept = kept_units(graph, model, masks, trained)
    modules: dict[str, nn.Module] = {}
    places: dict[str, Index] = {}
    small_masks: dict[str, Tensor] = {}
    for index, op in enumerate(graph.ops):
        if not op.is_module:
            continue
        module = model.get_submodule(op.name)
        found = places_in(graph, index, kept, module)
        places |= {f"{op.name}.{name}": found.get(name, ()) for name in own_tensors(module)}
        if op.kind == "dropout":
            modules[op.name] = _FullWidthDropout(module, op.shape[0], kept[index])
            continue
        modules[op.name] = _slice(module, found)
        if op.kind == "layer":
            layer = graph.layers[op.name]
            small_masks[op.name] = masks[op.name][grid(found["weight"])]
            _resize(modules[op.name], -(-layer.groups * len(kept[index]) // layer.shape[0]))
    shapes = [(len(units), *op.shape[1:]) for units, op in zip(kept, graph.ops, strict=True)]
    return Compact(_assemble(graph, traced(graph, model), modules, shapes), Masks(small_masks), places)


def _slice(module: nn.Module, places: Mapping[str, Index]) -> nn.Module:
    """A copy of a module with its own, smaller tensors."""
    small = copy.copy(module)
    # A shallow copy shares the dictionaries that hold the tensors; these must be its own.
    small._parameters, small._buffers = dict(module._parameters), dict(module._buffers)
    for name, parameter in small._parameters.items():
        if parameter is not None:
            part = parameter.detach()[grid(places.get(name, ()))].clone()
            small._parameters[name] = nn.Parameter(part, parameter.requires_grad)
    for name, buffer in small._buffers.items():
        if buffer is not None:
            small._buffers[name] = buffer[grid(places.get(name, ()))].clone()
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


def _assemble(
    layers: LayerGraph,
    seen: Traced,
    modules: Mapping[str, nn.Module],
    shapes: Sequence[tuple[int, ...]],
) -> nn.Module:
    """The traced graph over the small modules; each node's `meta` has the shape of what it gives."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(seen.graph, {}))
    for node in list(graph.nodes):
        index = seen.op_of.get(node.name)
        if index is not None:
            node.meta["shape"] = shapes[index]
        kind = layers.ops[index].kind if index is not None else ""
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
