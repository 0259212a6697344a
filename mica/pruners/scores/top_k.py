"""From scores to masks: the part that all ranking pruners share."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mica.errors import NumericError, UserError
from mica.masks import Masks
from mica.pruners.scores.score_key import ScoreCache, code_of, score_key
from mica.pruners.scores.scored_network import Network
from mica.pruners.scores.scorer import Remaining, Scorer
from mica.wording import described


def rank_globally(
    scorer: Scorer, network: Network, counts: Sequence[int], cache: ScoreCache | None = None
) -> Masks:
    """Keep the highest scores over all layers together: RbPI.

    Args:
        counts: how many edges are kept after each iteration; of equal scores the earlier edge stays.
    """
    pools = {"all": tuple(network.graph.layers)}
    return _cached(scorer, network, [{"all": count} for count in counts], pools, cache)


def rank_within_layers(
    scorer: Scorer, network: Network, budget: Mapping[str, int], cache: ScoreCache | None = None
) -> Masks:
    """Keep the highest scores of each layer, as many as its budget says."""
    layers, steps = network.graph.layers, scorer.iterations
    schedule = [
        {
            # Geometric from dense to the budget; an empty layer is emptied last, so that scores stay scores.
            name: round(layer.edges * (max(budget[name], 1) / layer.edges) ** (step / steps))
            for name, layer in layers.items()
        }
        for step in range(1, steps)
    ]
    return _cached(scorer, network, [*schedule, dict(budget)], {name: (name,) for name in layers}, cache)


def _cached(
    scorer: Scorer,
    network: Network,
    schedule: list[dict[str, int]],
    pools: dict[str, tuple[str, ...]],
    cache: ScoreCache | None,
) -> Masks:
    """`_prune` with what can be used again from the cache: scores of the dense network, or else masks."""
    once = scorer.iterations == 1
    dear = scorer.needs_images or not once  # the others are computed sooner than read
    more = [] if once else [schedule, pools, code_of(__name__)]  # masks also come of what is done here
    key = score_key(scorer, network, *more) if cache and dear else None

    def prune() -> Masks:
        return _prune(scorer, _start(scorer, network), network, schedule, pools)

    if cache is None or key is None:
        return prune()
    if not once:
        return Masks(cache.get_or_compute(key, prune))

    def score(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = cache.get_or_compute(key, lambda: scorer.score(network, weights))
        return {name: scores.to(network.device) for name, scores in found.items()}

    return _prune(scorer, _Masked(scorer, network, score), network, schedule, pools)


def _start(scorer: Scorer, network: Network) -> Remaining:
    return scorer.start(network) or _Masked(scorer, network, lambda weights: scorer.score(network, weights))


def _prune(
    scorer: Scorer,
    remaining: Remaining,
    network: Network,
    schedule: list[dict[str, int]],
    pools: Mapping[str, Iterable[str]],
) -> Masks:
    """Score what is left and keep the best of each pool of layers, once for each entry of the schedule."""
    for counts in schedule:
        scores = remaining.scores()
        for pool, names in pools.items():
            try:
                _keep_highest([scores[n] for n in names], [remaining.kept[n] for n in names], counts[pool])
            except NumericError as error:
                raise NumericError(f"{scorer}: {error}") from None
    masks = remaining.masks()
    return Masks({name: masks[name].cpu().view(layer.shape) for name, layer in network.graph.layers.items()})


class _Masked:
    """The edges that a pruner without a quicker way has kept: all are scored, with weight 0 if pruned."""

    def __init__(
        self,
        scorer: Scorer,
        network: Network,
        score: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    ) -> None:
        self._scorer, self._network, self._score = scorer, network, score
        self._weights = network.weights()
        self.kept = {n: torch.ones_like(w, dtype=torch.bool).view(-1) for n, w in self._weights.items()}

    def scores(self) -> dict[str, Tensor]:
        masked = {name: weight * self.kept[name].view_as(weight) for name, weight in self._weights.items()}
        scores = self._score(masked)
        self._check(scores)
        flat = {name: _floats(scores[name]).flatten() for name in self._weights}
        if self._scorer.recovers:
            for flags in self.kept.values():
                flags.fill_(True)  # all may be chosen
            return flat
        return {name: score.masked_fill(~self.kept[name], -torch.inf) for name, score in flat.items()}

    def masks(self) -> dict[str, Tensor]:
        return self.kept

    def _check(self, scores: Mapping[str, Tensor]) -> None:
        """Blame the function that gave something else than a score for every edge."""
        if not isinstance(scores, Mapping):
            raise UserError(f"{self._scorer} must return layer name → scores, found {described(scores)}")
        for name, shape in self._network.graph.shapes.items():
            score = scores.get(name)
            found = f"of shape {tuple(score.shape)}" if isinstance(score, Tensor) else described(score)
            if found != f"of shape {shape}":
                raise UserError(
                    f"{self._scorer} must give every edge a score: for layer {name!r} a tensor of shape "
                    f"{shape}, found {found}"
                )


def _floats(scores: Tensor) -> Tensor:
    """Scores that can be compared with infinity, and no more part of a graph of gradients."""
    return scores.detach() if scores.is_floating_point() else scores.double()


def _keep_highest(scores: list[Tensor], kept: list[Tensor], count: int) -> None:
    """Leave exactly the `count` kept edges of the highest scores, of equal ones the earlier, in `kept`.

    Raises:
        NumericError: a kept edge's score is NaN or infinite.
    """
    if not all(_finite(*pair) for pair in zip(scores, kept, strict=True)):
        raise NumericError(
            "its scores are not all finite: an error in it, or weights or a depth out of float range"
        )
    # A threshold and a sweep over the ties: exact and repeatable, where topk may break ties either way.
    threshold = _kth_highest(scores, count) if count else torch.inf
    reached = [values >= threshold for values in scores]
    if sum(int(part.count_nonzero()) for part in reached) != count:
        reached = _without_ties(scores, kept, threshold, count)
    for chosen, flags in zip(reached, kept, strict=True):
        flags.copy_(chosen)


def _without_ties(scores: list[Tensor], kept: list[Tensor], threshold: float, count: int) -> list[Tensor]:
    """Exactly so many, where more reach the threshold than that: of those on it the first that are kept."""
    higher = [values > threshold for values in scores]
    missing = count - sum(int(part.count_nonzero()) for part in higher)
    for values, chosen, flags in zip(scores, higher, kept, strict=True):
        if missing:
            ties = _places((values == threshold) & flags)[:missing]
            chosen[ties] = True
            missing -= len(ties)
    return higher


def _finite(scores: Tensor, kept: Tensor) -> bool:
    if not len(scores):
        return True
    low, high = scores.aminmax()  # either is NaN if any score is
    return math.isfinite(high - low) or bool(scores[kept].isfinite().all())


def _kth_highest(parts: list[Tensor], count: int) -> float:
    """The value that exactly `count` values reach, ties aside."""
    rank = sum(map(len, parts)) - count
    low, high = _bracket(parts, rank)
    found = [_between(part, low, high) for part in parts]
    near = torch.cat([values for values, _ in found])
    place = len(near) - count + sum(above for _, above in found)
    if not 0 <= place < len(near):  # a sample that misleads
        place, near = rank, torch.cat(parts)
    return float(_ordered(near, [place])[place])


def _between(values: Tensor, low: float, high: float) -> tuple[Tensor, int]:
    """Those above `low` and up to `high`, and how many are above that."""
    if values.device.type == "cpu" and len(values) > _MANY:
        try:
            from mica.pruners.scores.edge_kernels import between
        except ImportError:  # no numba here
            pass
        else:
            return between(values.numpy(), low, high)
    near = (values > low) & (values <= high)
    return values[_places(near)], int((values > high).count_nonzero())


def _places(flags: Tensor) -> Tensor:
    """Indices of the true ones; on a CPU numpy finds few among many ten times sooner than torch."""
    if flags.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(flags.numpy()))
    return flags.nonzero().squeeze(1)


def _bracket(parts: list[Tensor], rank: int) -> tuple[float, float]:
    """Two scores around the one of this rank, very likely: found in an even sample."""
    total = sum(map(len, parts))
    sample = torch.cat([part[_sample(len(part), total, part.device)] for part in parts])
    place, margin = rank * len(sample) // total, 2 * math.isqrt(len(sample))
    low, high = place - margin, place + margin
    ordered = _ordered(sample, [place for place in (low, high) if 0 <= place < len(sample)])
    return (
        float(ordered[low]) if low >= 0 else -math.inf,
        float(ordered[high]) if high < len(sample) else math.inf,
    )


def _ordered(values: Tensor, places: list[int]) -> Tensor:
    """Such that what ascending order has at these places is there; numpy is much quicker at it than torch."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), places))
    return values.sort().values


@functools.lru_cache(maxsize=256)
def _sample(length: int, total: int, device: torch.device) -> Tensor:
    """Indices into one of the parts, at distances of a golden ratio: in step with no pattern of a kernel."""
    count = -(-length * _SAMPLE // total) if length else 0
    places = torch.arange(count, dtype=torch.float64, device=device) * ((math.sqrt(5) - 1) / 2) % 1
    return (places * length).long()


_MANY = 1 << 16
"""So many that one pass over them is worth a compiled one."""
_SAMPLE = 1 << 16
