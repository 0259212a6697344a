"""From a sweep's axes to its trials: the union, without repeats, of full cross products."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from mica.data import DataSource
from mica.errors import DataError, UserError
from mica.named import Named
from mica.pruning.methods import DENSE, Method, combine
from mica.pruning.sparsify import source_method
from mica.sweep.plan.spec import Axes, SweepSpec
from mica.sweep.plan.yaml_file import first_lines
from mica.training.protocol import Protocol, default_protocol
from mica.trial import TrialSpec, open_data

MAX_TRIALS = 1_000_000


@dataclass(frozen=True)
class Grid:
    """All trials of a sweep; of a search none, as long as nobody has asked for them."""

    trials: dict[str, TrialSpec]
    """Key → trial, in the order of the file."""
    sources: dict[str, DataSource]
    """Data set's label → where it is."""


def expand(sweep: SweepSpec) -> Grid:
    """Find the data sets and list the trials.

    Raises:
        UserError: too many trials; or missing axes and impossible combinations, all at once, each named.
        DataError: data sets are not there, all at once.
    """
    grids = _grids(sweep)
    if (count := size(sweep)) > MAX_TRIALS:  # before any of them is there
        product_of = "data × models × seeds × methods × ratios"
        raise UserError(f"the sweep: {product_of} make {count:,} trials; allowed are {MAX_TRIALS:,}")
    if sweep.search:
        faults = list(_faults_of_search(sweep))
    else:
        faults = [fault for index, axes in enumerate(grids) for fault in _faults(axes, index, sweep)]
        faults += _clashes(grids)
    if faults:
        raise UserError(first_lines(dict.fromkeys(faults)))
    sources = _open({item.label: item for axes in grids for item in axes.data or ()})
    trials: dict[str, TrialSpec] = {}
    for axes in () if sweep.search else grids:
        for trial in _cells(axes, sweep, sources):
            trials.setdefault(trial.key, trial)
    return Grid(trials, sources)


def trials_of(
    sweep: SweepSpec, sources: dict[str, DataSource], method: Method, epochs: int
) -> Iterator[TrialSpec]:
    """One candidate of a search, with every seed."""
    axes = Axes.model_construct(**{name: getattr(sweep, name) for name in Axes.model_fields})
    own = axes.protocol or Protocol.model_construct(set())
    update = {"methods": (method,), "protocol": own.model_copy(update={"epochs": epochs})}
    return _cells(axes.model_copy(update=update), sweep, sources)


def _faults_of_search(sweep: SweepSpec) -> Iterator[str]:
    needed = ("data", "models", "ratios", "seeds")
    for name in (*needed, "budget", "rounding", "target", "wiring"):
        values = getattr(sweep, name)
        if not values and name in needed:
            yield f"the sweep: {name} is missing"
        if values and len(values) > 1 and name != "seeds":
            yield f"search: {name} has {len(values)} values; a search has one, or nothing could be compared"
    for name in ("methods", "pruners", "distributions", "grids"):
        if getattr(sweep, name):
            yield f"search: it names the method itself, so there is no {name} beside it"


def _grids(sweep: SweepSpec) -> list[Axes]:
    return [_inherit(axes, sweep) for axes in sweep.grids or (sweep,)]


def _inherit(axes: Axes, sweep: SweepSpec) -> Axes:
    """A grid's axes, with the sweep's own where the grid says nothing."""
    own = {name: getattr(axes, name) for name in Axes.model_fields}
    top = {name: getattr(sweep, name) for name in Axes.model_fields}
    if axes.methods:  # methods are named one way or the other
        top["pruners"] = top["distributions"] = None
    elif axes.pruners or axes.distributions:
        top["methods"] = None
    merged = {name: value if value is not None else top[name] for name, value in own.items()}
    if axes.protocol and sweep.protocol:
        merged["protocol"] = sweep.protocol.model_copy(update=_overrides(axes.protocol))
    return Axes.model_construct(**merged)


def size(sweep: SweepSpec) -> int:
    """How many trials a sweep's axes make, repeated ones too, without making any."""
    if sweep.search:
        return sweep.search.trials * len(sweep.seeds or "1")
    return sum(map(_size, _grids(sweep)))


def _size(axes: Axes) -> int:
    """An axis that is missing, which is a fault, counts as one."""
    methods = axes.methods or ()
    dense = methods.count(DENSE)
    sparse = len(methods) - dense + len(axes.pruners or ()) * len(axes.distributions or ())
    kinds = math.prod(len(axis or "1") for axis in (axes.budget, axes.rounding, axes.target, axes.wiring))
    others = math.prod(len(axis or "1") for axis in (axes.data, axes.models, axes.seeds))
    return (dense + sparse * len(axes.ratios or "1")) * kinds * others


def _open(data: Mapping[str, Named]) -> dict[str, DataSource]:
    """Find the data sets by their labels."""
    sources, faults = {}, []
    for label, item in data.items():
        try:
            sources[label] = open_data(item)
        except UserError as error:
            faults.append(f"data: {error}")
    if faults:
        raise DataError(first_lines(faults))
    return sources


def _faults(axes: Axes, index: int, sweep: SweepSpec) -> Iterator[str]:
    where = f"grids.{index}" if sweep.grids else "the sweep"
    for name in ("data", "models", "seeds"):
        if not getattr(axes, name):
            yield f"{where}: {name} is missing"
    if axes.methods and (axes.pruners or axes.distributions):
        yield f"{where}: has both methods and pruners × distributions; name them one way"
    if not axes.methods and not (axes.pruners and axes.distributions):
        yield f"{where}: methods (or pruners with distributions) is missing"
        return
    methods, impossible = _methods(axes)
    for method in methods if "corrected" in (axes.budget or ()) else ():
        try:
            source_method(method)
        except UserError as error:
            impossible.append(error)
    yield from (f"{where}: impossible combination: {error}" for error in impossible)
    if not axes.ratios and any(method != DENSE for method in methods):
        yield f"{where}: ratios is missing"


def _clashes(grids: Sequence[Axes]) -> Iterator[str]:
    """Tables and figures would take two things of one title for the same one."""
    for name in ("data", "models", "pruners", "distributions"):
        titles: dict[str, Named] = {}
        for item in (item for axes in grids for item in getattr(axes, name) or ()):
            if titles.setdefault(item.label, item) != item:
                yield f"{name}: two different ones have the title {item.label!r}"


def _methods(axes: Axes) -> tuple[list[Method], list[UserError]]:
    """The methods of a grid, and what is wrong with pruners and distributions that do not go together."""
    methods: list[Method] = list(axes.methods or ())
    faults: list[UserError] = []
    for pruner, shares in product(axes.pruners or (), axes.distributions or ()):
        try:
            methods.append(combine(pruner, shares))
        except UserError as error:
            faults.append(error)
    return methods, faults


def _cells(axes: Axes, sweep: SweepSpec, sources: dict[str, DataSource]) -> Iterator[TrialSpec]:
    for data, model, seed, method, budget in product(
        axes.data or (), axes.models or (), axes.seeds or (), _methods(axes)[0], axes.budget or ("nominal",)
    ):
        source = sources[data.label]
        protocol = _protocol(axes, model, source)
        ratios = (0.0,) if method == DENSE else axes.ratios or ()
        kinds = product(
            ratios, axes.rounding or ("floor",), axes.target or ("nominal",), axes.wiring or ("kept",)
        )
        for log10_ratio, rounding, target, wiring in kinds:
            yield TrialSpec(
                data=data,
                data_digest=source.digest,
                model=model,
                method=method,
                log10_ratio=log10_ratio,
                seed=seed,
                budget=budget,
                rounding=rounding,
                target=target,
                wiring=wiring,
                protocol=protocol,
                compact=sweep.compact,
                keep=sweep.keep,
            )


def _protocol(axes: Axes, model: Named, source: DataSource) -> Protocol:
    overrides = _overrides(axes.protocol) if axes.protocol else {}
    return Protocol(**{**default_protocol(model.name, source.augment), **overrides})


def _overrides(protocol: Protocol) -> dict[str, object]:
    return {name: getattr(protocol, name) for name in protocol.model_fields_set}
