"""SweepSpec: a sweep file, validated whole before anything runs."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, ValidationError

from mica.errors import CodeError, UserError, nearest
from mica.named import Named
from mica.pruning.budgets import BudgetKind, Rounding
from mica.pruning.methods import choose_distribution, choose_pruner
from mica.sweep.plan.ratios import log10_ratios
from mica.sweep.plan.yaml_file import YamlFile
from mica.training.protocol import Protocol
from mica.trial.spec import DataName, Keep, MethodName, ModelName

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


def _listed(value: Any) -> Any:
    """One value where a list may stand is a list of one."""
    return value if isinstance(value, list) else [value]


def _seed_list(value: Any) -> Any:
    """`seeds: 3` may mean three seeds to one reader and seed 3 to another."""
    if not isinstance(value, list):
        raise ValueError(f"found {value!r}; allowed is a list of whole numbers such as [0, 1, 2]")
    return value


PrunerName = Annotated[Named, BeforeValidator(choose_pruner)]
DistributionName = Annotated[Named, BeforeValidator(choose_distribution)]
Seeds = Annotated[
    tuple[Annotated[StrictInt, Field(ge=0)], ...], BeforeValidator(_seed_list), Field(min_length=1)
]
Many = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1)]


class Axes(BaseModel):
    """The axes of one full cross product. What a grid leaves out it takes from the sweep's top level."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Many[DataName] | None = Field(None, description="Data sets, by name or with options.")
    models: Many[ModelName] | None = Field(None, description="Networks, by name or with options.")
    methods: Many[MethodName] | None = Field(None, description="Methods by name, such as mica-igq, dense.")
    pruners: Many[PrunerName] | None = Field(
        None, description="By name or with options; crossed with `distributions`, in place of methods."
    )
    distributions: Many[DistributionName] | None = Field(
        None, description="By name or with options; `global` ranks all layers together."
    )
    ratios: Annotated[tuple[float, ...], BeforeValidator(log10_ratios), Field(min_length=1)] | None = Field(
        None, description="Compression ratios: numbers, 10^x, or {log10: {from, to, step}}."
    )
    seeds: Seeds | None = Field(None, description="A list of whole numbers from 0.")
    budget: Many[BudgetKind] | None = Field(None, description="nominal (default) or corrected.")
    rounding: Many[Rounding] | None = Field(None, description="floor (default) or exact.")
    protocol: Protocol | None = Field(None, description="What differs from the model's own protocol.")


def _shareable(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"found {gpus}; allowed is a share of one GPU, or a whole number of them")
    return gpus


class Resources(BaseModel):
    """What one trial gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: float = Field(1, gt=0, description="CPU cores; a trial uses as many threads.")
    gpu: Annotated[float, Field(ge=0), AfterValidator(_shareable)] | Literal["auto"] = Field(
        "auto",
        description="GPUs, fractions allowed; auto: one where there are any and something trains, else none.",
    )


class Times(BaseModel):
    """How long to wait before what, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: float = Field(300, gt=0, description="Between two checkpoints of a trial.")
    claim: float = Field(
        90,
        ge=1,
        description="A driver without a sign of life for so long is dead: others take its trials over.",
    )
    stall: float = Field(
        900,
        gt=0,
        description="A trial without progress for so long, and for ten of its own steps, is started anew.",
    )


class Home(BaseModel):
    """A sweep's name, and where its records lie."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="Names the sweep in tables and in MLflow.", pattern=r"^[\w.+-]+$")
    storage: str | None = Field(None, description="Folder or object-store URI; results/NAME by default.")

    @property
    def store(self) -> str:
        """Where the records go."""
        return self.storage or f"results/{self.name}"


class SweepSpec(Home, Axes):
    """A sweep file: the axes, or several `grids` of them, and where and how they run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grids: Annotated[tuple[Axes, ...], Field(min_length=1)] | None = Field(
        None, description="Cross products whose union is the sweep; without it the top level is the only one."
    )
    resources: Resources = Resources()
    times: Times = Times()
    mlflow: bool | str = Field(True, description="A tracking URI; true: SQLite in the storage; false: off.")
    compact: bool = Field(True, description="Train sparse networks as the small networks that they are.")
    keep: Keep = Field("nothing", description="nothing, masks, or weights (with masks).")


def load_sweep(path: Path) -> SweepSpec:
    """Read and check a sweep file.

    Raises:
        UserError: all faults at once, each with its line and key, what was found and what is allowed.
        CodeError: there is nothing wrong with it but code of the user's own that cannot be loaded.
    """
    return _checked(YamlFile(path), SweepSpec)


def load_home(path: Path) -> Home:
    """A sweep file's name and storage; of all else in it nothing is looked at. Raises `UserError`."""
    return _checked(YamlFile(path), Home)


def _checked(file: YamlFile, kind: type[S]) -> S:
    try:
        return kind.model_validate(file.content)
    except ValidationError as error:
        causes = [details.get("ctx", {}).get("error") for details in error.errors()]
        raised = CodeError if all(isinstance(cause, CodeError) for cause in causes) else UserError
        raise raised("\n".join(_faults(file, error))) from error


def _faults(file: YamlFile, error: ValidationError) -> list[str]:
    """One line for each place that is wrong; the first of several complaints about one place."""
    found: dict[tuple[str | int, ...], str] = {}
    for details in error.errors():
        if details["type"] == "too_short" and details["input"]:
            continue  # the items are faulty, each with a line of its own
        place = tuple(key for key in details["loc"] if not _is_internal(key))
        found.setdefault(place, _fault(file, list(place), dict(details)))
    return list(found.values())


def _fault(file: YamlFile, keys: list[str | int], details: dict[str, Any]) -> str:
    """One line for one of pydantic's complaints."""
    kind, found = details["type"], details["input"]
    where = file.where(keys)
    if kind == "extra_forbidden":
        known = _keys_at(keys[:-1])
        return f"{where}: unknown key; allowed are {', '.join(known)}{nearest(str(keys[-1]), known)}"
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "value_error":  # from our own checks, which say what was found
        return f"{where}: {details['ctx']['error']}"
    allowed = _ALLOWED.get(kind) or re.sub(r"^Input should be ", "", details["msg"])
    return f"{where}: found {found!r}; allowed is {allowed}"


_ALLOWED = {
    "int_type": "a whole number",
    "bool_type": "true, false or a tracking URI",
    "bool_parsing": "true, false or a tracking URI",
    "string_pattern_mismatch": "a name of letters, digits and . _ + -",
    "too_short": "at least one",
}


def _is_internal(key: str | int) -> bool:
    """pydantic puts the names of validators and union members into its paths."""
    internal = ("bool", "str", "float", "constrained-float")
    return isinstance(key, str) and ("[" in key or key in internal or "literal" in key)


def _keys_at(keys: list[str | int]) -> list[str]:
    """The keys that are known in the mapping at this place of a sweep file."""
    models_at: dict[str, type[BaseModel]] = {
        "protocol": Protocol,
        "resources": Resources,
        "times": Times,
        "grids": Axes,
    }
    for key in reversed(keys):
        if key in models_at:
            return list(models_at[str(key)].model_fields)
    return list(SweepSpec.model_fields)
