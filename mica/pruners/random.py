"""Random pruning at initialisation (RPI): each layer's budget falls anywhere in it."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mica.graph.layers import Layer, LayerGraph
from mica.masks import Masks
from mica.pruners.kinds import placing


@placing("random")
def random(graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator) -> Masks:
    """Every set of `budget` edges of a layer is equally likely (paper section 2)."""
    return Masks({name: draw(layer, budget[name], rng) for name, layer in graph.layers.items()})


def draw(layer: Layer, edges: int, rng: np.random.Generator) -> Tensor:
    """A layer's mask with so many edges; all such masks are equally likely."""
    mask = torch.zeros(layer.edges, dtype=torch.bool)
    mask[torch.from_numpy(rng.choice(layer.edges, edges, replace=False, shuffle=False))] = True
    return mask.view(layer.shape)
