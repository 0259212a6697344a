"""SNIP: the edges whose removal changes the loss most, to first order, stay (Lee et al. 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import BatchNormMode, Network, gradients, leaves


@ranking("snip")
def snip(
    network: Network, weights: Mapping[str, Tensor], *, batch_norm: BatchNormMode = "eval"
) -> dict[str, Tensor]:
    """|g ⊙ w|, g the gradient of the mean loss over the scoring images.

    `batch_norm` is the mode of batch norm meanwhile.
    """
    weights = leaves(weights)
    gradient = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for loss in network.batch_losses(weights, batch_norm=batch_norm):
        for name, part in gradients(loss, weights).items():
            gradient[name] += part
    return {name: (gradient[name] * weight.detach()).abs() for name, weight in weights.items()}
