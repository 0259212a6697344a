"""Methods: a pruner and a distribution, each with its options, under one name as the paper writes it."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from mica.errors import CodeError, UnknownName, UserError, nearest
from mica.named import Named, parse_first
from mica.pruners import PlacingPruner, Ranking, RankingPruner, pruners
from mica.pruning.distributions import distributions
from mica.wording import quoted

GLOBAL = "global"
"""The distribution of a ranking pruner that ranks all layers together."""

_SHORT = {"random": "rpi"}
"""How the paper calls a pruner in a method's name."""
_LONG = {short: name for name, short in _SHORT.items()}
_FORMS = "dense, rpi-DISTRIBUTION, mica-DISTRIBUTION, rbpi-PRUNER or PRUNER-DISTRIBUTION, such as mica-igq"


class Method(BaseModel):
    """One way to make masks. The dense network has neither pruner nor distribution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pruner: Named
    distribution: Named

    @property
    def name(self) -> str:
        """`rpi-erk`, `mica(node_counts=max)-igq`, `rbpi-snip`, `dense`, …; `parse_method` reads it back."""
        if self == DENSE:
            return "dense"
        if self.distribution.name == GLOBAL:
            return f"rbpi-{self.pruner.text}"
        pruner = self.pruner.text
        if self.pruner.name in _SHORT:
            pruner = _SHORT[self.pruner.name] + pruner.removeprefix(self.pruner.name)
        return f"{pruner}-{self.distribution.text}"

    def __str__(self) -> str:
        return self.name

    @property
    def rankings(self) -> list[Ranking]:
        """The ranking pruners that take part."""
        found = (as_ranking(part) for part in (self.pruner, self.distribution))
        return [ranking for ranking in found if ranking]

    @property
    def needs_images(self) -> bool:
        """Whether training images must be scored."""
        return any(ranking.pruner.needs_images for ranking in self.rankings)


_NONE = Named(name="none")
DENSE = Method(pruner=_NONE, distribution=_NONE)


def parse_method(name: str) -> Method:
    """The method of a name such as `mica-igq`, `rpi-synflow(iterations=30)`, `rbpi-snip` or `dense`.

    Upper and lower case of mica's own names are one, as figures write `MiCA-ERK`.

    Raises:
        UserError: it is not a name of this form, or pruner and distribution do not go together.
        UnknownName: no such pruner or distribution.
    """
    if name.lower() == "dense":
        return DENSE
    _, _, rest = parse_first(name, stop="-")
    pruner, distribution = _spelled(name.removesuffix(rest)), _spelled(rest[1:])
    if not pruner or not distribution or rest[0] != "-":
        raise UserError(f"unknown method {quoted(name)}: a method is {_FORMS}{_meant(name.lower())}")
    short = pruner.partition("(")[0]
    if short == "rbpi":
        if pruner != short:
            raise UserError(
                f"unknown method {quoted(name)}: it is the pruner that has options, rbpi-PRUNER(…)"
            )
        return combine(distribution, GLOBAL)
    return combine(_LONG.get(short, short) + pruner.removeprefix(short), distribution)


def _spelled(text: str) -> str:
    """The text with its name in lower case, unless it is registered otherwise or a user's own."""
    name, bracket, options = text.partition("(")
    kept = ":" in name or name in pruners or name in distributions
    return (name if kept else name.lower()) + bracket + options


def _meant(name: str) -> str:
    """A tail for messages: methods that somebody who wrote this may have meant."""
    if is_ranking(name):
        return f"; did you mean 'rbpi-{name}', or mica or rpi with its layer-wise counts, 'mica-{name}'?"
    if name in pruners or name in _LONG:
        return f"; did you mean '{_SHORT.get(name, name)}-erk' or '{_SHORT.get(name, name)}-igq'?"
    known = [f"{p}-{d}" for p in ("rpi", "mica") for d in distributions.names()]
    known += [f"rbpi-{p}" for p in pruners.names() if is_ranking(p)]
    return nearest(name.replace("_", "-").replace(" ", "-"), known)


def combine(pruner: object, distribution: object) -> Method:
    """The method of a pruner and a distribution, each as a registry's `choose` takes it.

    Raises:
        UserError: they do not go together, or do not take these options.
        UnknownName: no such pruner or distribution.
    """
    chosen, shares = choose_pruner(pruner), choose_distribution(distribution)
    kind = pruners.get(chosen.name)
    if shares.name == GLOBAL:
        if isinstance(kind, PlacingPruner):
            raise UserError(f"pruner {chosen.name!r} ranks nothing, so it has no {GLOBAL!r} distribution")
    elif isinstance(kind, RankingPruner) and is_ranking(shares.name):
        raise UserError(
            f"pruner {chosen.name!r} cannot take its budget from the ranking of {shares.name!r}: "
            f"ranked within layers it pairs with {', '.join(distributions.names())}, or with {GLOBAL}"
        )
    return Method(pruner=chosen, distribution=shares)


def choose_pruner(chosen: object) -> Named:
    """A pruner with its options, as a registry's `choose` takes it."""
    if chosen == "dense":
        raise UserError("dense is no pruner but a method, without any distribution: name it under methods")
    return pruners.choose(chosen)


def choose_distribution(chosen: object) -> Named:
    """A distribution with its options; one that is a ranking's mask takes that ranking's."""
    if isinstance(chosen, Named):
        return chosen
    name = str(chosen.get("name", "") if isinstance(chosen, Mapping) else chosen).partition("(")[0]
    if name == GLOBAL and chosen in (GLOBAL, {"name": GLOBAL}):
        return Named(name=GLOBAL)
    if is_ranking(name):
        return pruners.choose(chosen)
    try:
        return distributions.choose(chosen)
    except CodeError:  # there it is no question of another name
        raise
    except UnknownName as error:
        rankers = ", ".join(n for n in pruners.names() if is_ranking(n))
        raise UnknownName(f"{error}; or, for a ranking pruner's layer-wise counts, {rankers}") from error


def is_ranking(name: str) -> bool:
    """Whether this names a pruner that ranks edges, mica's or a user's own."""
    if ":" in name:
        try:
            return isinstance(pruners.get(name), RankingPruner)
        except UserError:  # a distribution of the user's own, or nothing at all: whoever loads it says so
            return False
    return name in pruners and isinstance(pruners.get(name), RankingPruner)


def as_ranking(part: Named) -> Ranking | None:
    """The ranking that a pruner or a distribution is; None if it is none."""
    if not is_ranking(part.name):
        return None
    pruner = pruners.get(part.name)
    assert isinstance(pruner, RankingPruner)
    return Ranking(pruner, part.all_options, part.text)
