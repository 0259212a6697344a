"""Methods: a pruner and a distribution under one name, as the paper writes them."""

from dataclasses import dataclass

from mica.errors import UserError
from mica.pruners import PlacingPruner, RankingPruner, pruners
from mica.pruning.distributions import distributions

GLOBAL = "global"
"""The distribution of a ranking pruner that ranks all layers together."""


@dataclass(frozen=True)
class Method:
    """One way to make masks. The dense network has neither pruner nor distribution."""

    pruner: str
    distribution: str

    def __str__(self) -> str:
        """`rpi-erk`, `mica-igq`, `rbpi-snip`, `synflow-erk`, or `dense`."""
        if self == DENSE:
            return "dense"
        if self.distribution == GLOBAL:
            return f"rbpi-{self.pruner}"
        return f"{'rpi' if self.pruner == 'random' else self.pruner}-{self.distribution}"

    @property
    def scorers(self) -> list[str]:
        """The ranking pruners that take part."""
        return [name for name in (self.pruner, self.distribution) if is_ranking(name)]

    @property
    def needs_images(self) -> bool:
        """Whether training images must be scored."""
        found = [pruners.get(name) for name in self.scorers]
        return any(isinstance(pruner, RankingPruner) and pruner.needs_images for pruner in found)


DENSE = Method("none", "none")


def parse_method(name: str) -> Method:
    """The method of a name such as `mica-igq`, `rpi-synflow`, `rbpi-snip`, `snip-erk` or `dense`.

    Raises:
        UserError: it is not a name of this form, or pruner and distribution do not go together.
        UnknownName: no such pruner or distribution.
    """
    if name == "dense":
        return DENSE
    pruner, dash, distribution = name.partition("-")
    if not dash:
        raise UserError(
            f"unknown method {name!r}: a method is dense, rpi-DISTRIBUTION, mica-DISTRIBUTION, "
            "rbpi-PRUNER or PRUNER-DISTRIBUTION, such as mica-igq"
        )
    if pruner == "rbpi":
        return combine(distribution, GLOBAL)
    return combine("random" if pruner == "rpi" else pruner, distribution)


def combine(pruner: str, distribution: str) -> Method:
    """The method of a pruner and a distribution; raises as `parse_method` does."""
    kind = pruners.get(pruner)
    if not isinstance(kind, (PlacingPruner, RankingPruner)):
        raise UserError(f"pruner {pruner!r} is no pruner: decorate it with mica.pruners.placing or ranking")
    if distribution == GLOBAL:
        if isinstance(kind, PlacingPruner):
            raise UserError(f"pruner {pruner!r} ranks nothing, so it has no {GLOBAL!r} distribution")
    elif not is_ranking(distribution):
        try:
            distributions.get(distribution)
        except UserError as error:
            rankers = ", ".join(n for n in pruners.names() if is_ranking(n))
            raise type(error)(f"{error}; or, for a ranking pruner's layer-wise counts, {rankers}") from error
    elif isinstance(kind, RankingPruner):
        raise UserError(
            f"pruner {pruner!r} cannot take its budget from the ranking of {distribution!r}: "
            f"ranked within layers it pairs with {', '.join(distributions.names())}, or with {GLOBAL}"
        )
    return Method(pruner, distribution)


def is_ranking(name: str) -> bool:
    """Whether this names a pruner that ranks edges, mica's or a user's own."""
    known = name in pruners or ":" in name
    return known and isinstance(pruners.get(name), RankingPruner)
