"""SynFlow: the edges that carry the most of the network's path norm stay (Tanaka et al. 2020)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mica.pruners.network import Network, gradients
from mica.pruners.registry import ranking


@ranking("synflow", iterations=100, needs_images=False)
def synflow(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w| ⊙ ∂R/∂|w|, R the summed output for an input of ones with every parameter made positive.

    In float64: R is a product over all layers and leaves float32's range in a deep, sparse network.
    Batch norm is in eval mode, whatever mode other scores use.
    """
    absolute = {name: weight.abs().double().requires_grad_() for name, weight in weights.items()}
    image = torch.ones(1, *network.graph.input_shape, dtype=torch.float64, device=network.device)
    flow = network.absolute_forward(absolute, image).sum()
    return {name: absolute[name].detach() * part for name, part in gradients(flow, absolute).items()}
