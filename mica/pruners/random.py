"""Random pruning at initialisation (RPI): each layer's budget falls anywhere in it."""

from collections.abc import Mapping

import numpy as np
import torch

from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.pruners.kinds import placing


@placing("random")
def random(graph: LayerGraph, budget: Mapping[str, int], rng: np.random.Generator) -> Masks:
    """Every set of `budget` edges of a layer is equally likely (paper section 2)."""
    masks = {}
    for name, layer in graph.layers.items():
        mask = torch.zeros(layer.edges, dtype=torch.bool)
        mask[torch.from_numpy(rng.choice(layer.edges, budget[name], replace=False, shuffle=False))] = True
        masks[name] = mask.view(layer.shape)
    return Masks(masks)
