"""Search: a sweep that looks for a method's best options, in place of one that runs all of a grid."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mica.errors import UserError
from mica.named import Named
from mica.pruners import pruners
from mica.pruning.distributions import distributions
from mica.pruning.methods import Method, choose_distribution, choose_pruner, combine, is_ranking
from mica.wording import quoted

MOST_CANDIDATES = 10_000
_DECIMALS = 9
"""Of a number that is tried: a step of 0.05 is not to be seen as 0.15000000000000002."""
_HARDLY = 1e-6
"""By so much of a step a range may miss a whole number of them: float arithmetic."""

Whole = Annotated[int, Field(strict=True)]
Number = Whole | Annotated[float, Field(strict=True, allow_inf_nan=False)]
Value = Whole | float | str | bool


class Range(BaseModel):
    """Numbers from one to another, the ends included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number = Field(alias="from")
    to: Number
    step: Number = Field(0, gt=0, validate_default=False, description="1 between whole numbers, else 0.01.")

    @model_validator(mode="before")
    @classmethod
    def _with_step(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "step" in value:
            return value
        whole = all(isinstance(value.get(end), int) for end in ("from", "to"))
        return {**value, "step": 1 if whole else 0.01}

    @model_validator(mode="after")
    def _rises(self) -> "Range":
        if self.to < self.low:
            raise ValueError(f"found {self.low} to {self.to}; a range rises")
        steps = (self.to - self.low) / self.step
        if abs(steps - round(steps)) > _HARDLY or 0 < steps < 1:
            raise ValueError(
                f"found {self.low} to {self.to} by {self.step}; a range is a whole number of steps"
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether all of them are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.to, self.step))


class Rung(BaseModel):
    """So many candidates, each trained for so long, with every seed of the sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int = Field(ge=1, le=MOST_CANDIDATES, strict=True, description="How many are trained.")
    epochs: int = Field(ge=1, le=1_000_000, strict=True, description="In place of the protocol's.")


def _range_or_choices(value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("found []; allowed is {from: …, to: …}, or a list of what to choose from")
        return tuple(value)
    return value


Space = Annotated[Range | tuple[Value, ...], BeforeValidator(_range_or_choices)]


class Search(BaseModel):
    """What is looked for, where, and how thoroughly. The objective is the mean validation accuracy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pruner: Annotated[Named, BeforeValidator(choose_pruner)] = Field(
        description="By name or with the options that stay."
    )
    distribution: Annotated[Named, BeforeValidator(choose_distribution)] = Field(description="Likewise.")
    space: Annotated[dict[str, Space], Field(min_length=1, max_length=100)] = Field(
        description="Option of the distribution or the pruner → {from, to, step}, or a list to choose from."
    )
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=100)] = Field(
        description="Those of the first are drawn; the best of each go on to the next."
    )
    wave: int = Field(
        8,
        ge=1,
        le=MOST_CANDIDATES,
        strict=True,
        description="Candidates drawn at a time, from what those before gave; as many as can run at once.",
    )
    draw: int = Field(
        0, ge=0, le=2**32 - 1, strict=True, description="Seed of the drawing of candidates; no trial's."
    )

    @model_validator(mode="after")
    def _can_be(self) -> "Search":
        for earlier, later in zip(self.rungs, self.rungs[1:], strict=False):
            if later.candidates > earlier.candidates:
                raise ValueError(
                    f"rungs: {later.candidates} candidates cannot be the best of {earlier.candidates}"
                )
        known = {**self._pruner_options, **self._distribution_options}
        for name in self.space:
            if name not in known:
                raise ValueError(
                    f"space: neither {self.pruner.name!r} nor {self.distribution.name!r} has the option "
                    f"{quoted(name)}; allowed are {', '.join(known)}"
                )
        try:
            for end in self._ends():
                self.method(end)
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def trials(self) -> int:
        """How many candidates are trained in all; for one seed."""
        return sum(rung.candidates for rung in self.rungs)

    def method(self, chosen: Mapping[str, Any]) -> Method:
        """The candidate with these values of the space's options. Raises `UserError`."""
        of_distribution = {name: chosen[name] for name in chosen if name in self._distribution_options}
        of_pruner = {name: value for name, value in chosen.items() if name not in of_distribution}
        pruner, distribution = (
            {"name": part.name, **part.options, **own}
            for part, own in ((self.pruner, of_pruner), (self.distribution, of_distribution))
        )
        return combine(pruner, distribution if distribution != {"name": "global"} else "global")

    @property
    def _pruner_options(self) -> Mapping[str, Any]:
        return pruners.options(self.pruner.name).defaults

    @property
    def _distribution_options(self) -> Mapping[str, Any]:
        name = self.distribution.name
        if name == "global":
            return {}
        return (pruners if is_ranking(name) else distributions).options(name).defaults

    def _ends(self) -> Iterator[dict[str, Any]]:
        """Both ends of every range, and each choice once."""
        first = {name: part.low if isinstance(part, Range) else part[0] for name, part in self.space.items()}
        yield first
        for name, part in self.space.items():
            for value in (part.to,) if isinstance(part, Range) else part[1:]:
                yield {**first, name: value}


def rounded(value: Any) -> Any:
    """A value of a space as it is written."""
    return round(value, _DECIMALS) if isinstance(value, float) else value
