"""NTK-SAP: the edges that the spectrum of the tangent kernel depends on the most stay (Wang et al. 2023)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mica import rng
from mica.graph.layers import LayerGraph
from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import Network, gradients, leaves

_IMAGES = 10
"""For each class."""
_Weights = dict[str, Tensor]


@ranking("ntk_sap", iterations=20, needs_images=False, cost=6_000)
def ntk_sap(network: Network, weights: Mapping[str, Tensor], *, epsilon: float = 0.01) -> dict[str, Tensor]:
    """|∂/∂m ‖f(x; v ⊙ m) − f(x; (v + ε) ⊙ m)‖²|, summed over images of noise.

    m is the mask so far; weights v, noise ε of standard deviation `epsilon` and images x are drawn anew at
    every iteration, so that the mask suits no initial weights in particular. Batch norm is in eval mode,
    where the authors let it see the images first.
    """
    kept = leaves({name: (weight != 0).to(weight.dtype) for name, weight in weights.items()})
    one, other, images = draws(
        network.graph, network.seed, sum(int(mask.sum()) for mask in kept.values()), epsilon
    )

    def outputs(drawn: _Weights) -> Tensor:
        placed = {name: drawn[name].to(mask) * mask for name, mask in kept.items()}
        return network.forward(placed, images.to(next(iter(kept.values()))))

    slopes = gradients((outputs(one) - outputs(other)).square().sum(), kept)
    return {name: slope.abs() for name, slope in slopes.items()}


def draws(graph: LayerGraph, seed: int, edges: int, epsilon: float) -> tuple[_Weights, _Weights, Tensor]:
    """Kaiming-normal weights, the same and some noise, and images, of the iteration with so many edges."""
    generator = torch.Generator().manual_seed(int(rng.stream(seed, f"ntk_sap/{edges}").integers(2**63)))
    one, other = {}, {}
    for name, shape in graph.shapes.items():
        one[name] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        other[name] = one[name] + epsilon * torch.randn(shape, generator=generator)
    return one, other, torch.randn(_IMAGES * graph.ops[-1].shape[0], *graph.input_shape, generator=generator)
