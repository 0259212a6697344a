"""From scores to masks: the part that all ranking pruners share."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from mica.distributions import target_edges
from mica.errors import NumericError, UserError
from mica.masks import Masks
from mica.pruners.network import Network
from mica.pruners.registry import RankingPruner
from mica.words import Rounding


def rank_globally(pruner: RankingPruner, network: Network, ratio: float, rounding: Rounding) -> Masks:
    """Keep the highest scores over all layers together: RbPI at a compression ratio.

    Returns masks with exactly `target_edges` edges; of equal scores the earlier edge stays.
    """
    edges = network.graph.edges
    steps = pruner.iterations
    schedule = [target_edges(edges, ratio ** (step / steps), rounding) for step in range(1, steps + 1)]
    return _prune(pruner, network, [{"all": count} for count in schedule], {"all": network.graph.layers})


def rank_within_layers(pruner: RankingPruner, network: Network, budget: Mapping[str, int]) -> Masks:
    """Keep the highest scores of each layer, as many as its budget says."""
    layers, steps = network.graph.layers, pruner.iterations
    schedule = [
        {
            # Geometric from dense to the budget; an empty layer is emptied last, so that scores stay scores.
            name: round(layer.edges * (max(budget[name], 1) / layer.edges) ** (step / steps))
            for name, layer in layers.items()
        }
        for step in range(1, steps)
    ]
    return _prune(pruner, network, [*schedule, dict(budget)], {name: (name,) for name in layers})


def _prune(
    pruner: RankingPruner,
    network: Network,
    schedule: list[dict[str, int]],
    pools: Mapping[str, Iterable[str]],
) -> Masks:
    """Score what is left and keep the best of each pool of layers, once for each entry of the schedule."""
    initial = network.weights()
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in initial.items()}
    alive = {
        pool: torch.arange(sum(initial[name].numel() for name in names), device=network.device)
        for pool, names in pools.items()
    }
    for counts in schedule:
        scores = pruner.score(network, {name: weight * masks[name] for name, weight in initial.items()})
        found = {name: tuple(score.shape) for name, score in scores.items()}
        if found != network.graph.shapes:
            raise UserError(
                f"the pruner's scores must have the weights' shapes: {found} for {network.graph.shapes}"
            )
        for pool, names in pools.items():
            values = torch.cat([scores[name].flatten() for name in names])[alive[pool]]
            alive[pool] = alive[pool][_highest(values, counts[pool])]
            masks |= _as_masks(alive[pool], {name: initial[name] for name in names})
    return Masks({name: mask.cpu() for name, mask in masks.items()})


def _highest(values: Tensor, count: int) -> Tensor:
    """Indices of exactly the `count` highest values, in order; of equal ones the earlier.

    Raises:
        NumericError: a value is NaN or infinite.
    """
    if not torch.isfinite(values).all():
        raise NumericError(
            "the pruner's scores are not all finite: an error in it, or weights or a depth out of float range"
        )
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    # A threshold and a sweep over the ties: exact and repeatable, where topk may break ties either way.
    threshold = _kth_highest(values, count)
    kept = values > threshold
    ties = (values == threshold).nonzero().squeeze(1)
    kept[ties[: count - int(kept.sum())]] = True
    return kept.nonzero().squeeze(1)


def _kth_highest(values: Tensor, count: int) -> float:
    rank = len(values) - count
    if values.device.type == "cpu":  # torch crawls where scores are as skewed as SynFlow's
        return float(np.partition(values.numpy(), rank)[rank])
    return float(torch.kthvalue(values, rank + 1).values)


def _as_masks(alive: Tensor, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of some layers from the flat indices of the edges they keep together."""
    sizes = [weight.numel() for weight in layers.values()]
    kept = torch.zeros(sum(sizes), dtype=torch.bool, device=alive.device)
    kept[alive] = True
    parts = zip(layers.items(), kept.split(sizes), strict=True)
    return {name: part.view_as(weight) for (name, weight), part in parts}
