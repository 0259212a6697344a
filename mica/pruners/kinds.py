"""What a pruner is, and where pruners are registered.

There are two kinds. A *placing* pruner puts a given budget into the layers. A *ranking* pruner only scores
edges; which of them stay is decided for all of them alike (`mica.pruners.scores.top_k`). What either function
names beside what mica gives it is an option, to be set in YAML.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from mica.masks import Masks
from mica.options import Options, call, options_of
from mica.pruners.scores.scored_network import Network
from mica.pruners.scores.scorer import Remaining
from mica.registry import Registry, place_of

Place = Callable[..., Masks]
Score = Callable[..., Mapping[str, Tensor]]

PLACING_INPUTS = ("graph", "budget", "rng", "weights")
"""What a placing pruner is given of, as far as its signature names it."""
RANKING_INPUTS = ("network", "weights")


@dataclass(frozen=True)
class PlacingPruner:
    """Places each layer's budget of edges, exactly."""

    place: Place
    """Of `graph` (LayerGraph), `budget` (layer name → edges), `rng` (the mask's random stream) and `weights`
    (layer name → initial weight) it gets those that it names; it returns masks with exactly the budget."""
    cost: float = 50
    """Its time, as that of training so many images of the same network, about."""

    @property
    def options(self) -> Options:
        """What may be set."""
        return options_of(self.place, PLACING_INPUTS)


Iterations = Annotated[int, Field(ge=1, le=100_000)]


@dataclass(frozen=True)
class RankingPruner:
    """Scores edges; the highest scores are kept."""

    score: Score
    """(network, current weights of the prunable layers, pruned ones zero) → scores of the same shapes."""
    iterations: int = 1
    """Score and prune this many times, along an exponential schedule; more than 1 can be set as an option."""
    needs_images: bool = True
    """Whether `score` looks at training images and labels."""
    remaining: Callable[[Network], Remaining] | None = None
    """A quicker way to the same scores when there are many iterations."""
    cost: float = 100
    """Its time, as that of training so many images of the same network, about."""
    recovers: bool = False
    """Whether `score` scores pruned edges too, and they may be kept again after any iteration."""

    @property
    def options(self) -> Options:
        """What may be set."""
        found = options_of(self.score, RANKING_INPUTS)
        return found.with_option("iterations", self.iterations, Iterations) if self.iterations > 1 else found


Pruner = PlacingPruner | RankingPruner


@dataclass(frozen=True)
class Ranking:
    """A ranking pruner with its options set: a `mica.pruners.scores.scorer.Scorer`."""

    pruner: RankingPruner
    options: Mapping[str, Any]
    name: str = "of ranking"
    """For messages."""

    def __str__(self) -> str:
        """Who is to blame: name, file and line."""
        return f"pruner {self.name!r}{place_of(self.pruner.score)}"

    @property
    def iterations(self) -> int:
        """How often it scores and prunes."""
        default = self.pruner.iterations  # with 1, an option of this name is the function's own affair
        return int(self.options.get("iterations", default)) if default > 1 else 1

    @property
    def needs_images(self) -> bool:
        """Whether it looks at training images and labels."""
        return self.pruner.needs_images

    @property
    def recovers(self) -> bool:
        """Whether pruned edges may come back."""
        return self.pruner.recovers

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it computes with: the one that scores first."""
        pruner = self.pruner
        return (pruner.score, pruner.remaining) if pruner.remaining else (pruner.score,)

    def score(self, network: Network, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Scores of the weights' shapes; pruned weights are zero."""
        options = {name: value for name, value in self.options.items() if name in self._own}
        given = {"network": network, "weights": weights}
        scores: Mapping[str, Tensor] = call(self.pruner.score, given, options)
        return scores

    @property
    def _own(self) -> set[str]:
        """Options that the function names, or takes under any name; the iterations are mica's as a rule."""
        own = options_of(self.pruner.score, RANKING_INPUTS)
        others = set(self.options) if own.others else set()
        return set(own.defaults) | (others - {"iterations"} if self.pruner.iterations > 1 else others)

    def start(self, network: Network) -> Remaining | None:
        """A quicker way to the same scores, where there is one."""
        return self.pruner.remaining(network) if self.pruner.remaining else None


def _a_pruner(found: object) -> Pruner:
    if not isinstance(found, (PlacingPruner, RankingPruner)):
        raise TypeError("is no pruner: decorate it with mica.pruners.placing or mica.pruners.ranking")
    return found


pruners: Registry[Pruner] = Registry(
    "pruner",
    accept=_a_pruner,
    options=lambda pruner: pruner.options,
    inputs=f"{', '.join(PLACING_INPUTS)} to a placing, {', '.join(RANKING_INPUTS)} to a ranking pruner",
)


def placing(name: str | None = None, *, cost: float = 50) -> Callable[[Place], PlacingPruner]:
    """Decorator that makes a function a placing pruner; `name`: see `Registry.file`."""

    def made(place: Place) -> PlacingPruner:
        pruner = PlacingPruner(place, cost)
        pruners.file(name, place, pruner)
        return pruner

    return made


def ranking(
    name: str | None = None,
    *,
    iterations: int = 1,
    needs_images: bool = True,
    remaining: Callable[[Network], Remaining] | None = None,
    cost: float = 100,
    recovers: bool = False,
) -> Callable[[Score], RankingPruner]:
    """Decorator that makes a scoring function a ranking pruner; `name`: see `Registry.file`."""

    def made(score: Score) -> RankingPruner:
        pruner = RankingPruner(score, iterations, needs_images, remaining, cost, recovers)
        pruners.file(name, score, pruner)
        return pruner

    return made
