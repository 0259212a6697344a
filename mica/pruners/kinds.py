"""What a pruner is, and where pruners are registered.

There are two kinds. A *placing* pruner puts a given budget into the layers without looking at the
weights. A *ranking* pruner only scores edges; which of them stay is decided here for all of them alike
(`mica.pruners.top_k`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.pruners.scores.scored_network import Network
from mica.registry import Registry

Place = Callable[[LayerGraph, Mapping[str, int], np.random.Generator], Masks]
Score = Callable[[Network, Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class PlacingPruner:
    """Places each layer's budget of edges, exactly."""

    place: Place
    """(graph, budget, random stream) → masks with exactly the budget."""


class Remaining(Protocol):
    """Edges that are scored and pruned in turns. Scores and flags are flat, layer by layer."""

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """bool (edges,): to be set to False for edges that are pruned, in place."""
        ...

    def scores(self) -> Mapping[str, Tensor]:
        """(edges,), beside `kept`; of a pruned edge no more than of any kept one."""
        ...

    def masks(self) -> Mapping[str, Tensor]:
        """All edges of the network, bool: those kept."""
        ...


@dataclass(frozen=True)
class RankingPruner:
    """Scores edges; the highest scores are kept."""

    score: Score
    """(network, current weights of the prunable layers, pruned ones zero) → scores of the same shapes."""
    iterations: int = 1
    """Score and prune this many times, along an exponential schedule."""
    needs_images: bool = True
    """Whether `score` looks at training images and labels."""
    remaining: Callable[[Network], Remaining] | None = None
    """A quicker way to the same scores when there are many iterations."""


Pruner = PlacingPruner | RankingPruner
pruners: Registry[Pruner] = Registry("pruner")


def placing(name: str) -> Callable[[Place], PlacingPruner]:
    """Decorator that registers a function as a placing pruner."""

    _check_name(name)

    def add(place: Place) -> PlacingPruner:
        pruner = PlacingPruner(place)
        pruners.register(name)(pruner)
        return pruner

    return add


def ranking(
    name: str,
    *,
    iterations: int = 1,
    needs_images: bool = True,
    remaining: Callable[[Network], Remaining] | None = None,
) -> Callable[[Score], RankingPruner]:
    """Decorator that registers a scoring function as a ranking pruner."""

    _check_name(name)

    def add(score: Score) -> RankingPruner:
        pruner = RankingPruner(score, iterations, needs_images, remaining)
        pruners.register(name)(pruner)
        return pruner

    return add


def _check_name(name: str) -> None:
    if "-" in name:
        raise ValueError(f"pruner {name!r}: the dash separates pruner and distribution; use another sign")
