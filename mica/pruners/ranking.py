"""From scores to masks: the part that all ranking pruners share."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mica.distributions import Rounding, target_edges
from mica.errors import NumericError
from mica.masks import Masks
from mica.pruners.network import Network
from mica.pruners.registry import RankingPruner


def rank_globally(pruner: RankingPruner, network: Network, ratio: float, rounding: Rounding) -> Masks:
    """Keep the highest scores over all layers together: RbPI at a compression ratio.

    Returns masks with exactly `target_edges` edges; of equal scores the earlier edge stays.
    """
    edges = network.graph.edges
    steps = pruner.iterations
    schedule = [target_edges(edges, ratio ** (step / steps), rounding) for step in range(1, steps + 1)]
    return _prune(pruner, network, [{"all layers": count} for count in schedule], {"all layers": network.graph.layers})


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
    pruner: RankingPruner, network: Network, schedule: list[dict[str, int]], pools: Mapping[str, object]
) -> Masks:
    """Score what is left and keep the best of each pool of layers, once for each entry of the schedule."""
    initial = network.weights()
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in initial.items()}
    for counts in schedule:
        weights = {name: weight * masks[name] for name, weight in initial.items()}
        scores = pruner.score(network, weights)
        for pool, count in counts.items():
            names = list(pools[pool])  # type: ignore[call-overload]
            kept = _highest([scores[name] for name in names], [masks[name] for name in names], count)
            masks.update(zip(names, kept, strict=True))
    return Masks({name: mask.cpu() for name, mask in masks.items()})


def _highest(scores: list[Tensor], masks: list[Tensor], count: int) -> list[Tensor]:
    """Of the edges that `masks` keep, exactly the `count` best; of equal scores the earlier ones.

    Raises:
        NumericError: a score is NaN or infinite.
    """
    alive = torch.cat([mask.flatten() for mask in masks]).nonzero().squeeze(1)
    values = torch.cat([score.flatten() for score in scores])[alive]
    if not torch.isfinite(values).all():
        raise NumericError("scores overflowed: the network's weights or its depth are out of float range")
    assert count <= len(alive), "a schedule never grows"
    kept = torch.zeros(sum(mask.numel() for mask in masks), dtype=torch.bool, device=values.device)
    if count:
        # kthvalue and a sweep over the ties: exact and repeatable, where topk may break ties either way.
        threshold = torch.kthvalue(values, len(values) - count + 1).values
        above = values > threshold
        ties = (values == threshold).nonzero().squeeze(1)[: count - int(above.sum())]
        above[ties] = True
        kept[alive[above]] = True
    parts = kept.split([mask.numel() for mask in masks])
    return [part.view_as(mask) for part, mask in zip(parts, masks, strict=True)]
