"""TrialSpec: one cell of a grid, with every default filled in; one that cannot run cannot be made."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mica.data import Dataset, DataSource, datasets
from mica.data.dataset import source_of
from mica.errors import DataError, UserError
from mica.models import models
from mica.named import Named
from mica.options import call
from mica.pruning.budgets import BudgetKind, Rounding
from mica.pruning.methods import DENSE, Method, parse_method
from mica.pruning.rewiring import Wiring
from mica.pruning.sparsify import source_method
from mica.pruning.target import Target
from mica.registry import place_of
from mica.training.protocol import Protocol
from mica.trial.key import key_of
from mica.wording import quoted, shown

Keep = Literal["nothing", "masks", "weights"]
"""What a trial leaves besides its record; `weights` includes the masks."""


MAX_SEED = 2**63 - 1
"""Tables hold it as 64 bits."""


def _method(value: Any) -> Any:
    return parse_method(value) if isinstance(value, str) else value


DataName = Annotated[Named, BeforeValidator(datasets.recall)]
ModelName = Annotated[Named, BeforeValidator(models.recall)]
MethodName = Annotated[Method, BeforeValidator(_method)]


class TrialSpec(BaseModel):
    """All that decides a trial's numbers, and what it leaves besides its record.

    Raises:
        UserError: data set, model or method is unknown or does not take these options, or they do not go
            together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataName
    data_digest: str = Field(
        "",
        max_length=128,
        description="Of the data set's content; by default of what is there now.",
    )
    model: ModelName
    method: MethodName = Field(description="Pruner and distribution: `dense`, `mica-igq`, `rbpi-snip`, …")
    log10_ratio: float = Field(
        ge=0, le=30, strict=True, description="log10 of the compression ratio; 0 for dense."
    )
    seed: int = Field(ge=0, le=MAX_SEED, strict=True, description="Makes every random stream of the trial.")
    budget: BudgetKind = "nominal"
    rounding: Rounding = "floor"
    target: Target = "nominal"
    wiring: Wiring = "kept"
    protocol: Protocol
    compact: bool = Field(
        True,
        strict=True,
        description="Train the small network that computes the same; changes no number but rounding.",
    )
    keep: Keep = Field("nothing", description="Files left beside the record; changes no number.")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError("\n".join(map(_said, error.errors()))) from None

    @model_validator(mode="after")
    def _can_run(self) -> "TrialSpec":
        if not self.data_digest:  # else it was made before, and is read back without the user's code
            if self.budget == "corrected":
                source_method(self.method)
            object.__setattr__(self, "data_digest", open_data(self.data).digest)
        return self

    @property
    def ratio(self) -> float:
        """The compression ratio."""
        return float(10**self.log10_ratio)

    @property
    def key(self) -> str:
        """SHA-256, in hex, of all that changes the trial's numbers, and of nothing else."""
        return key_of(self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is made of. A method's options are those of its pruner and its distribution."""
        method = self.method
        fields: dict[str, Any] = {
            "data": self.data_digest,
            "model": [self.model.name, self.model.all_options],
            "seed": self.seed,
            "protocol": self.protocol.identity,
        }
        if method != DENSE:
            fields |= {
                "pruner": [method.pruner.name, method.pruner.all_options],
                "distribution": [method.distribution.name, method.distribution.all_options],
                # As an integer of millionths: no float formatting can split a cell in two.
                "log10_ratio_e6": round(self.log10_ratio * 1e6),
                "budget": self.budget,
                "rounding": self.rounding,
            }
            if self.target != "nominal":  # it came after the first keys
                fields["target"] = self.target
            if self.wiring != "kept":  # likewise
                fields["wiring"] = self.wiring
        return fields

    @property
    def cell(self) -> str:
        """The trial in a few words, its data set left out: `vgg16 mica-igq 10^4.5 seed 0`."""
        kind = " corrected to" if self.target == "corrected" else ""
        ratio = f"{kind} 10^{round(self.log10_ratio, 2):g}" if self.method != DENSE else ""
        corrected = " corrected" if self.budget == "corrected" else ""
        rewired = " rewired" if self.wiring == "rewired" else ""
        return f"{self.model.label} {self.method}{corrected}{rewired}{ratio} seed {self.seed}"

    def __str__(self) -> str:
        """`digits vgg16 mica-igq 10^4.5 seed 0`."""
        return f"{self.data.label} {self.cell}"

    @property
    def code(self) -> dict[str, str]:
        """The user's own names that take part → SHA-256 of the module that each was found in."""
        parts = (self.data, self.model, self.method.pruner, self.method.distribution)
        return {part.name: part.code for part in parts if part.code}


def open_data(data: str | Named) -> DataSource:
    """The data set of this name and options, found but not decoded; raises `UserError`."""
    chosen = datasets.choose(data)
    try:
        found = _found(chosen)
    except OSError as error:  # no right to look, a name that is too long
        raise DataError(f"data set {quoted(chosen.label)} cannot be looked at: {error}") from error
    return source_of(found, partial(_found, chosen)) if isinstance(found, Dataset) else found


def _found(chosen: Named) -> Any:
    """What a data set's function gives: a `DataSource`, or the `Dataset` itself."""
    find = datasets.get(chosen.name)
    try:
        found = call(find, {}, chosen.all_options)
    except (UserError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a user's own function may raise anything
        if ":" not in chosen.name and not place_of(find):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError(f"data set {quoted(chosen.name)}{place_of(find)} failed: {shown(reason)}") from error
    if not isinstance(found, (DataSource, Dataset)):
        raise UserError(
            f"data set {quoted(chosen.text)}{place_of(find)} must return a mica.data.Dataset, "
            f"found {quoted(found):.60}"
        )
    return found


def _said(details: Any) -> str:
    """One of pydantic's complaints in a line."""
    if details["type"] == "value_error":  # from our own checks, which say what was found
        return str(details["ctx"]["error"])
    place = ".".join(map(str, details["loc"]))
    return f"{place}: found {quoted(details['input'])}; {details['msg'].removeprefix('Input ')}"
