"""Run the benchmark: which cases, in which order, and what is said on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from mica.bench.case import Case, Setting
from mica.bench.masks import time_masks
from mica.bench.measurements import MaskRow, Measurements, StepRow, TogetherRow, WaysRow
from mica.bench.steps import peak_gflops, time_case
from mica.bench.together import time_together
from mica.bench.trials import time_trials
from mica.bench.ways import time_ways
from mica.models import models as known_models
from mica.trial.device import checked_device, compute_exactly
from mica.trial.provenance import provenance

_RATIOS = {"vgg16": (2.0, 3.0, 3.5, 4.0, 4.5, 5.0), "resnet20": (1.0, 2.0, 3.0)}
_RATIOS_OF_OTHERS = (1.0, 2.0, 3.0)
_RANDOM = {"vgg16": (3.0, 3.5), "resnet20": (2.0,)}
"""Where random pruning is timed too: many of its channels are half dead."""
_MASKS = (
    ("mica-igq", 0.5), ("mica-igq", 1.0), ("mica-igq", 2.0), ("mica-igq", 4.5), ("rpi-igq", 2.0),
    ("rbpi-magnitude", 2.0), ("rbpi-snip", 2.0), ("rbpi-grasp", 2.0), ("rbpi-synflow", 1.0),
    ("rbpi-synflow", 3.0), ("rbpi-synflow", 4.5),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    setting: Setting
    models: tuple[str, ...]
    steps: bool
    ways: bool
    masks: bool
    trials: int
    """How many no-op trials; 0 leaves them out."""


def plan_of(
    models: tuple[str, ...],
    seeds: int,
    rounds: int,
    steps: bool,
    ways: bool,
    masks: bool,
    trials: int,
    threads: int | None,
    device: str | None,
) -> Plan:
    """What the command line asks for. Raises `UserError` for an unknown network or device."""
    models = models or ("vgg16", "resnet20")
    for name in models:
        known_models.get(name)
    if threads:
        torch.set_num_threads(threads)
    setting = Setting(checked_device(device), tuple(range(seeds)), rounds)
    return Plan(setting, models, steps, ways, masks, trials)


def measure(plan: Plan, announce: Callable[[str], None]) -> Measurements:
    """Measure everything of the plan, telling what comes next; slow cases first warm the machine up."""
    device = plan.setting.device
    started = datetime.now(UTC)
    compute_exactly()
    announce("the machine's peak")
    peaks = {"fp32": peak_gflops(device, "fp32"), "bf16": peak_gflops(device, "bf16")}
    steps: list[StepRow] = []
    for case in step_cases(plan) if plan.steps else ():
        announce(f"a training step: {_title(case)}")
        steps.append(time_case(case, plan.setting, peaks[case.precision]))
    ways: list[WaysRow] = []
    for case in way_cases(plan) if plan.ways else ():
        announce(f"a training step, each way: {_title(case)}")
        ways.append(time_ways(case, plan.setting))
    together: list[TogetherRow] = []
    for case in together_cases(plan) if plan.steps else ():
        announce(f"trials together: {_title(case)}")
        if row := time_together(case, plan.setting):
            together.append(row)
    masks: list[MaskRow] = []
    for case in mask_cases(plan) if plan.masks else ():
        announce(f"a mask: {_title(case)}")
        masks.append(time_masks(case, plan.setting))
    trials = None
    if plan.trials:
        announce(f"{plan.trials:,} trials that do nothing, through Ray")
        trials = time_trials(plan.trials)
    return Measurements(
        **provenance(device, started).model_dump(
            include={"device", "host", "threads", "started", "versions"}
        ),
        peak_gflops=peaks,
        steps=tuple(steps),
        ways=tuple(ways),
        together=tuple(together),
        masks=tuple(masks),
        trials=trials,
    )


def step_cases(plan: Plan) -> Iterator[Case]:
    """Dense in both precisions, MiCA over the ratios, random pruning where it is hard."""
    for model in plan.models:
        dense = Case(model, "dense", 0.0)
        yield from (dense, replace(dense, precision="bf16"))
        yield from _over_ratios(model)
        for ratio in _RANDOM.get(model, _RATIOS_OF_OTHERS[1:2]):
            yield Case(model, "rpi-igq", ratio)


def way_cases(plan: Plan) -> Iterator[Case]:
    """MiCA over the ratios."""
    for model in plan.models:
        yield from _over_ratios(model)


def _over_ratios(model: str) -> Iterator[Case]:
    for ratio in _RATIOS.get(model, _RATIOS_OF_OTHERS):
        yield Case(model, "mica-igq", ratio)


def together_cases(plan: Plan) -> Iterator[Case]:
    """Where a network is smallest."""
    for model in plan.models:
        yield Case(model, "mica-igq", _RATIOS.get(model, _RATIOS_OF_OTHERS)[-1])


def mask_cases(plan: Plan) -> Iterator[Case]:
    """Every kind of pruner; MiCA and SynFlow at several ratios, which they depend on."""
    for model in plan.models:
        yield from (Case(model, method, ratio) for method, ratio in _MASKS)


def _title(case: Case) -> str:
    at = f" at 10^{case.log10_ratio:g}" if case.log10_ratio else ""
    return f"{case.model} {case.method}{at}, {case.precision}"
