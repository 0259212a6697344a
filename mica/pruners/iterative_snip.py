"""SNIP in small steps, with and without a way back for what was pruned (de Jorge et al. 2021)."""

from collections.abc import Mapping

from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import BatchNormMode, Network, loss_gradients
from mica.pruners.snip import snip

_STEPS, _COST = 300, 30_000


@ranking("iterative_snip", iterations=_STEPS, cost=_COST)
def iterative_snip(
    network: Network, weights: Mapping[str, Tensor], *, batch_norm: BatchNormMode = "eval"
) -> Mapping[str, Tensor]:
    """|g ⊙ w| of what is left, step by step along an exponential schedule: Iterative SNIP.

    All steps score the same images, where the authors draw new ones for each. `batch_norm` is the mode of
    batch norm meanwhile.
    """
    return snip.score(network, weights, batch_norm=batch_norm)


@ranking("force", iterations=_STEPS, recovers=True, cost=_COST)
def force(
    network: Network, weights: Mapping[str, Tensor], *, batch_norm: BatchNormMode = "eval"
) -> dict[str, Tensor]:
    """|g ⊙ w₀|: g the gradient in the pruned network, w₀ the initial weights: FORCE.

    Edges that were pruned are scored too, as if their weight were back, and may be kept again. For images and
    `batch_norm` see `iterative_snip`.
    """
    found = loss_gradients(network, weights, batch_norm)
    return {name: (found[name] * weight).abs() for name, weight in network.weights().items()}
