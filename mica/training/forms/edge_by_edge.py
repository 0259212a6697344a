"""The form edge by edge: the small network, its sparse convolutions by their kept edges alone."""

import torch
from torch import Tensor

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
    for chain in sparse.chains:
        for name, places in chain.program.parameters.items():
            layer = name.removesuffix(".weight")
            full = (
                _edges(sparse, layer, small.places[name])
                if layer in small.masks
                else grid(small.places[name])
            )
            parts[name] = Part(chain.values, (_numbers(places),), full)
        for number, (norm, places) in enumerate(chain.program.statistics.items()):
            for row, name in enumerate((f"{norm}.running_mean", f"{norm}.running_var")):
                parts[name] = Part(
                    chain.tracked, (torch.tensor(row), _numbers(places)), grid(small.places[name])
                )
            parts[f"{norm}.num_batches_tracked"] = Part(chain.batches, (torch.tensor(number),), ())
    return Body(sparse.model, sparse.masks, parts, sparse.chains[0] if sparse.whole else None)


def _numbers(places: slice) -> Tensor:
    return torch.arange(places.start, places.stop)


def _edges(sparse: Edgewise, layer: str, place: Index) -> Index:
    """Coordinates of a layer's kept edges in the full weight, in the order of the chain's values."""
    out, source, *kernel = sparse.small.masks[layer].nonzero(as_tuple=True)
    return place[0][out], place[1][source], *kernel
