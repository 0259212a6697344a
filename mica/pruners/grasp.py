"""GraSP: the edges that carry the gradient flow stay (Wang et al. 2020)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import BatchNormMode, Network, gradients, leaves

_TEMPERATURE = 200.0
"""Divides the logits: it keeps the softmax of an untrained network away from saturation."""


@ranking("grasp", cost=500)
def grasp(
    network: Network, weights: Mapping[str, Tensor], *, batch_norm: BatchNormMode = "eval"
) -> dict[str, Tensor]:
    """w ⊙ (H g), the highest kept: gradient g and Hessian H of the mean loss over the scoring images.

    Wang et al. (2020), equation 8, prune the highest −w ⊙ (H g), which is the same. `batch_norm` is the
    mode of batch norm meanwhile.
    """
    weights = leaves(weights)

    def first_order() -> Iterator[dict[str, Tensor]]:
        for loss in network.batch_losses(weights, _TEMPERATURE, batch_norm):
            yield gradients(loss, weights, create_graph=True)

    # A second pass over the images, for one batch's graph fits in memory, and all of theirs may not.
    kept = list(first_order()) if network.batches == 1 else None
    gradient = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for parts in kept or first_order():
        for name, part in parts.items():
            gradient[name] += part.detach()
    # H g = ∂(∇L · g)/∂w with g held fixed, and it sums over batches as the loss does.
    product = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for parts in kept or first_order():
        flow = torch.stack([(part * gradient[name]).sum() for name, part in parts.items()]).sum()
        for name, part in gradients(flow, weights).items():
            product[name] += part
    return {name: weight.detach() * product[name] for name, weight in weights.items()}
