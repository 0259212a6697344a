"""SweepSpec: a sweep file, validated whole before anything runs."""

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mica.data import datasets
from mica.errors import CodeError, UserError
from mica.models import models
from mica.named import Named
from mica.pruning.budgets import BudgetKind, Rounding
from mica.pruning.methods import Method, choose_distribution, choose_pruner, parse_method
from mica.pruning.rewiring import Wiring
from mica.pruning.target import Target
from mica.sweep.plan.complaints import complaints
from mica.sweep.plan.ratios import log10_ratios
from mica.sweep.plan.search import Rung, Search
from mica.sweep.plan.yaml_file import YamlFile
from mica.training.moving import Moving
from mica.training.protocol import Protocol
from mica.trial.spec import MAX_SEED, Keep
from mica.wording import check_place, quoted

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


def _listed(value: Any) -> Any:
    """One value where a list may stand is a list of one."""
    return value if isinstance(value, list) else [value]


def _seed_list(value: Any) -> Any:
    """`seeds: 3` may mean three seeds to one reader and seed 3 to another."""
    if not isinstance(value, list):
        raise ValueError(f"found {quoted(value)}; allowed is a list of whole numbers such as [0, 1, 2]")
    return value


def _method(value: Any) -> Method:
    if not isinstance(value, str):
        raise ValueError(f"found {quoted(value)}; allowed is the name of a method, such as mica-igq")
    return parse_method(value)


def _place(value: str) -> str:
    check_place(value)
    return value


def _composed(name: str) -> str:
    """é is one sign or two: names that look alike would be two folders here, and one elsewhere."""
    if not unicodedata.is_normalized("NFC", name):
        raise ValueError(f"found {name!a}, with accents as signs of their own: write each as one letter")
    return name


def _tracking(value: Any) -> Any:
    """`mlflow: "true"` would be a folder of that name."""
    words = ("true", "false", "yes", "no", "on", "off")
    if not isinstance(value, (bool, str)) or (isinstance(value, str) and value.lower() in words):
        raise ValueError(f"found {quoted(value)}; allowed is true, false or a tracking URI")
    return value if isinstance(value, bool) else _place(value)


MAX_ITEMS = 1000
"""Of one axis, or grids of one sweep."""
LONGEST_NAME = 60
"""Characters of a sweep's name, so that it is a folder's wherever it is stored."""
DataName = Annotated[Named, BeforeValidator(datasets.choose)]
ModelName = Annotated[Named, BeforeValidator(models.choose)]
MethodName = Annotated[Method, BeforeValidator(_method)]
PrunerName = Annotated[Named, BeforeValidator(choose_pruner)]
DistributionName = Annotated[Named, BeforeValidator(choose_distribution)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, strict=True)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_seed_list), Field(min_length=1)]
Many = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1, max_length=MAX_ITEMS)]


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
    target: Many[Target] | None = Field(
        None, description="What ratios count: kept edges, nominal (default), or functional ones, corrected."
    )
    wiring: Many[Wiring] | None = Field(
        None,
        description="kept (default), or rewired: each input node and each output keeps its number of edges, "
        "not its partners.",
    )
    protocol: Protocol | None = Field(None, description="What differs from the model's own protocol.")


def _shareable(gpus: float) -> float:
    if 0 < gpus < 0.01 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(
            f"found {gpus}; allowed is a share of one GPU from 0.01 on, or a whole number of them"
        )
    return gpus


Gpus = Annotated[float, Field(ge=0, le=10_000, strict=True), AfterValidator(_shareable)]
Seconds = Annotated[float, Field(gt=0, le=10_000_000, strict=True)]


class Resources(BaseModel):
    """What one trial gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: float = Field(
        1,
        ge=0.01,
        le=10_000,
        strict=True,
        description="CPU cores; a trial uses as many threads. 1 is best where there are more trials than "
        "cores, or others at work: threads of one trial wait for the slowest of them.",
    )
    gpu: Gpus | Literal["auto"] = Field(
        "auto",
        description="GPUs, fractions allowed; auto: one where there are any and something trains, else none.",
    )


class Times(BaseModel):
    """How long to wait before what, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: Seconds = Field(300, description="Between two checkpoints of a trial.")
    claim: Seconds = Field(
        90,
        ge=1,
        description="A driver without a sign of life for so long is dead: others take its trials over.",
    )
    storage: Seconds = Field(
        90, description="A storage that fails is tried again for so long before a result is given up."
    )
    stall: Seconds = Field(
        900,
        description="A trial without progress for so long, and for ten of its own steps, is started anew.",
    )
    nodes: Annotated[float, Field(ge=0, le=10_000_000, strict=True)] = Field(
        0,
        description="A cluster none of whose nodes has room for a trial is waited for so long; 0: refused.",
    )


class Home(BaseModel):
    """A sweep's name, and where its records lie."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, AfterValidator(_composed)] = Field(
        description="Names the sweep in tables and in MLflow.",
        pattern=r"^\w[\w.+-]*$",  # not `..`, which is the parent folder
        max_length=LONGEST_NAME,
    )
    storage: Annotated[str, AfterValidator(_place)] | None = Field(
        None, description="Folder or object-store URI; results/NAME by default."
    )

    @property
    def store(self) -> str:
        """Where the records go."""
        return self.storage or f"results/{self.name}"


class SweepSpec(Home, Axes):
    """A sweep file: the axes, or several `grids` of them, and where and how they run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grids: Annotated[tuple[Axes, ...], Field(min_length=1, max_length=MAX_ITEMS)] | None = Field(
        None, description="Cross products whose union is the sweep; without it the top level is the only one."
    )
    search: Search | None = Field(
        None, description="Looks for a method's best options, in place of methods, of one ratio."
    )
    resources: Resources = Resources()
    times: Times = Times()
    mlflow: Annotated[bool | str, BeforeValidator(_tracking)] = Field(
        True, description="A tracking URI; true: SQLite in the storage; false: off."
    )
    compact: bool = Field(
        True, strict=True, description="Train sparse networks as the small networks that they are."
    )
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
        raise raised(complaints(file, error, _KNOWN)) from error


_KNOWN: dict[str, type[BaseModel]] = {
    "": SweepSpec,
    "protocol": Protocol,
    "resources": Resources,
    "times": Times,
    "grids": Axes,
    "moving": Moving,
    "search": Search,
    "rungs": Rung,
}
