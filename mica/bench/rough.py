"""About how long trials take that nobody has timed: a few of them are tried, for some seconds."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from statistics import fmean

import numpy as np
import torch

from mica.bench.sample import Sample, Try, sample
from mica.data import DataSource
from mica.sweep.drive.executor import device_of, need_among, threads_of
from mica.sweep.plan.cost import estimated_cost, image_cost, mask_cost, training_cost, training_images
from mica.sweep.plan.spec import Resources
from mica.trial.device import compute_exactly
from mica.trial.spec import TrialSpec

_SECONDS = 4.0
"""After so many no other trial is tried; modules to load and the last trial may take a few more."""
_SHARES = (0.25, 1.0, 0.75)
"""Which ratios of a network are tried, in this order: those up to which so much of the work lies."""

Workload = tuple[object, ...]
Sources = Mapping[str, DataSource]
Points = Mapping[float, float]
"""log10 of a ratio → what was measured there."""


@dataclass(frozen=True)
class Rough:
    """What was measured just now. `mica.sweep.plan.cost` tells one trial by another, ratio by ratio."""

    seconds: float
    """How long it was measured."""
    device: str
    preparing: Mapping[Workload, Points]
    """Seconds before the training."""
    pace: Mapping[Workload, Points]
    """Log of the seconds that a unit of `image_cost` takes."""

    def trial(self, spec: TrialSpec, source: DataSource | None) -> float:
        """Seconds of a trial; one whose network could not be tried takes as long as the others would."""
        work = _workload(spec, source)
        found = _at(spec.log10_ratio, self.preparing, work)
        if spec.method.rankings:
            found += mask_cost(spec) * math.exp(_at(0.0, self.pace, work))
        if spec.protocol.epochs:
            cost = training_cost(spec, training_images(spec, source))
            found += cost * math.exp(_at(spec.log10_ratio, self.pace, work))
        return found


def measure_roughly(
    trials: Sequence[TrialSpec], sources: Sources, resources: Resources, announce: Callable[[str], None]
) -> Rough | None:
    """Try some of these trials with the threads that they would get, and tell which, the largest work first.

    None if none could be tried. Where they are to get a GPU and there is none, they are tried on the CPU.
    """
    need = need_among(resources, trials, torch.cuda.device_count())
    device = device_of(need) if torch.cuda.is_available() else "cpu"
    before = torch.get_num_threads()
    torch.set_num_threads(threads_of(need))
    try:
        return _measured(trials, sources, device, announce)
    finally:
        torch.set_num_threads(before)


def _measured(
    trials: Iterable[TrialSpec], sources: Sources, device: str, announce: Callable[[str], None]
) -> Rough | None:
    begin = time.perf_counter()
    compute_exactly()
    tries = list(_tries(trials, sources))
    announce("the smallest network")
    _tried(min(tries, key=_cost), device, 0.0)  # loads modules, which no later trial waits for
    until = time.perf_counter() + _SECONDS
    preparing: dict[Workload, dict[float, float]] = defaultdict(dict)
    pace: dict[Workload, dict[float, float]] = defaultdict(dict)
    for each in tries:
        left = until - time.perf_counter()
        if left <= 0 and preparing:
            break
        announce(f"{each.spec.model.label} on {each.spec.data.label}")
        if found := _tried(each, device, left / 2):
            work = _workload(each.spec, each.source)
            preparing[work][each.spec.log10_ratio] = found.preparing
            if found.image:
                cost = image_cost(each.spec.model_copy(update={"log10_ratio": found.log10_ratio}))
                pace[work][found.log10_ratio] = math.log(found.image / cost)
    if not preparing or (not pace and any(each.trains for each in tries)):
        return None
    return Rough(time.perf_counter() - begin, device, dict(preparing), dict(pace))


def _tried(each: Try, device: str, seconds: float) -> Sample | None:
    try:
        return sample(each, device, seconds)
    except Exception:  # a user's own code may raise anything; the plan's remarks, or `run`, will tell
        return None


def _workload(spec: TrialSpec, source: DataSource | None) -> Workload:
    """What takes as long at one ratio; the number of classes changes but the last layer."""
    protocol, shape = spec.protocol, source.image_shape if source else None
    return spec.model.text, shape, protocol.batch_size, protocol.precision, protocol.augment, spec.compact


def _tries(trials: Iterable[TrialSpec], sources: Sources) -> Iterator[Try]:
    """What to try: of each workload the ratio that matters most, then of each the next."""
    groups: dict[Workload, list[Try]] = defaultdict(list)
    for spec in trials:
        source = sources.get(spec.data.label)
        groups[_workload(spec, source)].append(Try(spec, source, _trains(spec)))
    largest_first = sorted(groups.values(), key=lambda group: sum(map(_cost, group)), reverse=True)
    rounds = zip_longest(*map(_spread, largest_first))
    return (each for each in chain.from_iterable(rounds) if each)


def _spread(group: Sequence[Try]) -> list[Try]:
    """Trials of one workload at a few of its ratios, those that need no scores if there are any."""
    trains = any(each.trains for each in group)
    group = sorted(group, key=lambda each: (each.spec.log10_ratio, bool(each.spec.method.rankings)))
    costs = np.cumsum([_cost(each) for each in group])
    ratios = [group[int(np.searchsorted(costs, share * costs[-1]))].spec.log10_ratio for share in _SHARES]
    first = {each.spec.log10_ratio: each for each in reversed(group)}
    return [replace(first[ratio], trains=trains) for ratio in dict.fromkeys(ratios)]


def _trains(spec: TrialSpec) -> bool:
    """Whether the time of an image is asked for: what scores cost is counted in images, too."""
    return spec.protocol.epochs > 0 or bool(spec.method.rankings)


def _cost(each: Try) -> float:
    return estimated_cost(each.spec, training_images(each.spec, each.source))


def _at(log10_ratio: float, measured: Mapping[Workload, Points], work: Workload) -> float:
    """Linear between a workload's points, constant beyond them; without any, the mean of all workloads'."""
    points = measured.get(work)
    if points is None:
        return fmean(chain.from_iterable(each.values() for each in measured.values()))
    ratios = sorted(points)
    return float(np.interp(log10_ratio, ratios, [points[ratio] for ratio in ratios]))
