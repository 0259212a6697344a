"""Magnitude: the largest initial weights stay."""

from collections.abc import Mapping

from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import Network


@ranking("magnitude", needs_images=False, cost=50)
def magnitude(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w|."""
    return {name: weight.abs() for name, weight in weights.items()}
