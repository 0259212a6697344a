"""How long a sweep's missing trials will take: by those done, by the benchmark, else roughly."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import numpy as np

from mica.bench.measurements import Measurements
from mica.bench.rough import measure_roughly
from mica.data import DataSource
from mica.pruning.methods import is_ranking, parse_method
from mica.sweep.plan.cost import training_images
from mica.sweep.plan.spec import Resources
from mica.sweep.results import Results
from mica.trial.spec import TrialSpec

_EVALUATION = 0.2
"""Time of an epoch's evaluation on validation and test images / time of its training, about."""


@dataclass(frozen=True)
class Forecast:
    """How long what is missing will take, one trial after another."""

    hours: float
    basis: str
    """What it goes by."""
    arithmetic: float = 0.0
    """Hours of it that the benchmark knows to be arithmetic: functional edges, as fast as a matrix product is
    there. The rest is memory, launches, evaluation, masks, and what nobody has timed."""


Times = dict[tuple[str, str, int, str], dict[float, list[float]]]
"""Data set, network, epochs and pruner → log10 of the ratio → seconds of the trials done."""
ROUGH = "rough"
"""How a basis says that it is that."""


def forecast(
    results: Results,
    bench: Measurements | None,
    resources: Resources | None = None,
    announce: Callable[[str], None] | None = None,
) -> Forecast | None:
    """The hours of what has no record; None if all have one, or where nothing tells of some trial.

    A trial is taken to last as the mean of those of the same data, network, epochs and pruner whose ratio
    is nearest; without any, as its steps and its mask do in the benchmark; else as a few like it do that are
    tried for some seconds with these resources, of which `announce` is told. Without it nothing is tried.
    """
    done = _done(results)
    seconds, arithmetic, bases, unknown = 0.0, 0.0, set(), []
    for spec in results.missing:
        source = results.sources.get(spec.data.label)
        if ratios := done.get(_workload(spec)):
            nearest = ratios[min(ratios, key=lambda ratio: abs(ratio - spec.log10_ratio))]
            seconds += sum(nearest) / len(nearest)
            bases.add("the trials done")
        elif bench and (measured := _measured(spec, bench, source)) is not None:
            seconds += measured.seconds
            arithmetic += measured.arithmetic
            bases.add(f"mica-sweep bench of {bench.started[:10]} on {bench.device}")
        else:
            unknown.append(spec)
    rough = None
    if unknown and announce:
        rough = measure_roughly(unknown, results.sources, resources or Resources(), announce)
    if unknown and not rough:
        return None
    found = [" and ".join(sorted(bases))] if bases else []
    if rough:
        seconds += sum(rough.trial(spec, results.sources.get(spec.data.label)) for spec in unknown)
        found.append(f"{ROUGH}: measured for {rough.seconds:.0f} s just now on {rough.device}")
    return Forecast(seconds / 3600, "; ".join(found), arithmetic / 3600) if found else None


def _done(results: Results) -> Times:
    """The seconds of the trials that are done."""
    done: Times = defaultdict(lambda: defaultdict(list))
    for key, entry in results.entries.items():
        if entry.outcome != "failed" and key in results.trials:
            spec = results.trials[key]
            done[_workload(spec)][spec.log10_ratio].append(entry.seconds)
    return done


def _workload(spec: TrialSpec) -> tuple[str, str, int, str]:
    return spec.data.label, spec.model.label, spec.protocol.epochs, spec.method.pruner.text


@dataclass(frozen=True)
class _Measured:
    """A trial's seconds by the benchmark, and those of its steps' arithmetic alone."""

    seconds: float
    arithmetic: float


def _measured(spec: TrialSpec, bench: Measurements, source: DataSource | None) -> _Measured | None:
    """None where the benchmark has not timed the network."""
    protocol, method = spec.protocol, spec.method
    scored = method.distribution if is_ranking(method.distribution.name) else method.pruner
    rows = [
        row
        for row in bench.steps
        if row.model == spec.model.name
        and row.precision in (protocol.precision, "fp32")
        and row.method in ("dense", "mica-igq")
    ]
    steps = {row.log10_ratio: math.log(mean(row.mica_ms)) for row in rows}
    shares = {row.log10_ratio: mean(row.limit_share) for row in rows if row.limit_share}
    masks = {
        row.log10_ratio: mean(row.seconds)
        for row in bench.masks
        if row.model == spec.model.name and parse_method(row.method).pruner.name == scored.name
    }
    if not steps:
        return None
    step = math.exp(_between(steps, spec.log10_ratio)) / 1000
    batches = math.ceil(training_images(spec, source) / protocol.batch_size)
    mask = _between(masks, spec.log10_ratio) if masks else 0.0
    training = protocol.epochs * batches * step
    share = _between(shares, spec.log10_ratio) if shares else 0.0
    return _Measured(training * (1 + _EVALUATION) + mask, training * share)


def _between(points: dict[float, float], at: float) -> float:
    """Linear between the points, constant beyond them."""
    ratios = sorted(points)
    return float(np.interp(at, ratios, [points[ratio] for ratio in ratios]))
