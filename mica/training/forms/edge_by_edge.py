"""The form edge by edge: the small network, its sparse convolutions by their kept edges alone."""

from mica.compaction.places import Index, grid, own_tensors
from mica.edgewise import Edgewise
from mica.training.forms.form import Body, Part
from mica.training.forms.on_cpu import quicken


def edge_by_edge(sparse: Edgewise) -> Body:
    """The network on the CPU, where its kernels are."""
    quicken(sparse.model)
    small = sparse.small
    live = own_tensors(small.model)
    parts = {name: Part(live[name], (), grid(place)) for name, place in small.places.items()}
    for layer, block in sparse.blocks.items():
        name = f"{layer}.weight"
        parts[name] = Part(block.values, (), _edges(sparse, layer, small.places[name]))
    return Body(sparse.model, sparse.masks, parts)


def _edges(sparse: Edgewise, layer: str, place: Index) -> Index:
    """Coordinates of a layer's kept edges in the full weight, in the order of the block's values."""
    out, source, *kernel = sparse.small.masks[layer].nonzero(as_tuple=True)
    return place[0][out], place[1][source], *kernel
