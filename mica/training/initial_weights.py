"""The weights that a training starts from, where they are not those that the masks were made for."""

import torch
from torch import nn

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
