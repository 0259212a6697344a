"""LAMP: magnitude, made comparable between layers (Lee et al. 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import Network


@ranking("lamp", needs_images=False, cost=60)
def lamp(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """w² / the sum of those squares in the layer that are not smaller.

    A layer's largest weight scores 1, so no layer loses all its edges while there are more edges than layers.
    Of weights of one size the later counts as the larger.
    """
    return {name: _scores(weight.double().flatten() ** 2).view_as(weight) for name, weight in weights.items()}


def _scores(squares: Tensor) -> Tensor:
    ascending, order = squares.sort(stable=True)
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(squares).scatter_(0, order, (ascending / not_smaller).nan_to_num_(0))
