"""The weights that a training starts from, where they are not those that the masks were made for."""

import torch
from torch import nn

from mica.graph import LayerGraph
from mica.masks import Masks


def rescale(model: nn.Module, masks: Masks) -> None:
    """Multiply each unit's kept weights by √(all / kept), counted over its own inputs, in place.

    He initialisation draws weights of variance 2 / fan-in so that signals keep their size from layer to layer
    (He et al. 2015), and a mask leaves a unit a smaller fan-in than it was drawn for. A unit that nothing is
    left of stays as it is. Biases do too.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            weight = model.get_parameter(f"{name}.weight")
            kept = mask.to(weight.device).flatten(1).sum(dim=1).clamp(min=1)
            factor = (mask[0].numel() / kept.double()).sqrt().to(weight.dtype)
            weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))


def normalise(model: nn.Module, masks: Masks) -> None:
    """Give each unit's kept weights length 1 and a sum that is not negative, in place; the last layer stays.

    Under batch norm the length of a unit's weights changes nothing that it computes, unless they are so
    small that ε puts them out; it does change how fast they turn, as its inverse square. Batch norm leaves
    no gradient to the weight of a unit's only edge: its sign stays, unless batch norm's own scale learns to
    turn it. Where it is negative, what ReLU has put to zero becomes the largest value, and max pooling lets
    hardly anything else through.

    Neither biases nor units of which nothing is left are touched.
    """
    *hidden, _ = masks
    with torch.no_grad():
        for name in hidden:
            weight = model.get_parameter(f"{name}.weight")
            kept = weight.mul(masks[name].to(weight.device)).flatten(1).double()
            length = kept.norm(dim=1)
            factor = torch.where(kept.sum(dim=1) < 0, -1.0, 1.0) / torch.where(length > 0, length, 1.0)
            weight.mul_(factor.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1)))


def open_up(model: nn.Module, graph: LayerGraph, masks: Masks) -> None:
    """Set batch norm's shift to 1, in place, for every unit of the layer before it that has kept weights.

    At a shift of 0 ReLU puts half of what a unit gives to zero, and in a chain of narrow layers no other unit
    has kept it. At 1 it lets five sixths through.
    """
    with torch.no_grad():
        for op in graph.ops:
            if op.kind == "batch_norm" and (before := graph.ops[op.inputs[0]]).kind == "layer":
                shift = model.get_submodule(op.name).bias
                if isinstance(shift, nn.Parameter):
                    shift[masks[before.name].flatten(1).any(dim=1).to(shift.device)] = 1.0
