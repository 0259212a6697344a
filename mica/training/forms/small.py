"""The compact form: the small network of the channels that are not droppable."""

from mica.compaction import Compact
from mica.compaction.places import grid, own_tensors
from mica.training.forms.form import Body, Part
from mica.training.forms.on_cpu import quicken


def compacted(small: Compact, device: str) -> Body:
    """The small network on a device."""
    network = small.model.to(device)
    if device == "cpu":
        quicken(network)
    live = own_tensors(network)
    parts = {name: Part(live[name], (), grid(place)) for name, place in small.places.items()}
    return Body(network, small.masks, parts)
