"""SNIP: the edges whose removal changes the loss most, to first order, stay (Lee et al. 2019)."""

from collections.abc import Mapping

from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import BatchNormMode, Network, loss_gradients


@ranking("snip")
def snip(
    network: Network, weights: Mapping[str, Tensor], *, batch_norm: BatchNormMode = "eval"
) -> dict[str, Tensor]:
    """|g ⊙ w|, g the gradient of the mean loss over the scoring images.

    `batch_norm` is the mode of batch norm meanwhile.
    """
    found = loss_gradients(network, weights, batch_norm)
    return {name: (found[name] * weight).abs() for name, weight in weights.items()}
