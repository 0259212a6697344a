"""The plain form: the whole network, masked."""

import copy
from collections.abc import Mapping

from torch import nn

from mica.compaction.places import Index, grid, own_tensors
from mica.masks import Masks
from mica.training.forms.form import Body, Part
from mica.training.forms.on_cpu import quicken


def plain(model: nn.Module, masks: Masks, places: Mapping[str, Index], device: str) -> Body:
    """A copy of the network on a device; `places` are what of it is not droppable (`kept_places`)."""
    network = copy.deepcopy(model).to(device)
    if device == "cpu":
        quicken(network)
    parts = {}
    for name, live in own_tensors(network).items():
        place = grid(places.get(name, ()))
        parts[name] = Part(live, place, place)
    return Body(network, masks, parts)
