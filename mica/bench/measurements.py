"""What a benchmark measures, as tables and as JSON."""

from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, ValidationError

from mica.files import cache_folder, write_file


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepRow(_Row):
    """One network's training step, the masked-dense way and mica's, interleaved in one process."""

    model: str
    method: str
    log10_ratio: float
    precision: str
    """Of mica's side; the other side is always fp32."""
    batch_size: int
    masked_dense_ms: tuple[float, ...]
    """Medians, one a seed; likewise below."""
    mica_ms: tuple[float, ...]
    spread: tuple[float, ...]
    """Interquartile range of mica's steps / their median."""
    limit_share: tuple[float, ...] | None
    """Time that the functional edges' arithmetic alone would take at the machine's peak / mica's time.

    The arithmetic is edges × output positions × 2 FLOP × 3 passes × images; the peak, that of a large
    matrix product of the same precision in this run. None where no edge is functional.
    """
    loss_difference: float
    """Largest relative difference of the two sides' losses at the first step."""
    gpu: "GpuUse | None" = None
    """On a GPU: how much of it one such training takes."""

    @property
    def faster(self) -> float:
        """Masked-dense time / mica's: the median over the seeds."""
        return median(a / b for a, b in zip(self.masked_dense_ms, self.mica_ms, strict=True))


class GpuUse(_Row):
    """What one training takes of a GPU."""

    busy: float | None
    """Share of the time in which the GPU computes; None where torch's profiler sees nothing of it."""
    memory: float
    """Share of the GPU's memory at its peak, CIFAR's images and the process's own needs included."""

    @property
    def packed(self) -> int:
        """How many such trials to run at once: until the memory or the time is used up."""
        return max(1, int(0.9 / max(self.memory, self.busy or 0.0)))


class MaskRow(_Row):
    """Seconds that a method's mask takes, nothing cached; one a seed."""

    model: str
    method: str
    log10_ratio: float
    seconds: tuple[float, ...]
    functional_seconds: tuple[float, ...]
    """Of finding the mask's functional edges."""


class TogetherRow(_Row):
    """Trials of one seed in one process, an epoch of each: one after another, and together."""

    model: str
    method: str
    log10_ratio: float
    trials: int
    apart_seconds: tuple[float, ...]
    """Of all trials' epochs; medians, one a seed; likewise below."""
    together_seconds: tuple[float, ...]

    @property
    def faster(self) -> float:
        """One after another / together: the median over the seeds."""
        return median(a / b for a, b in zip(self.apart_seconds, self.together_seconds, strict=True))


class WaysRow(_Row):
    """One network's training step in every form, interleaved in one process."""

    model: str
    method: str
    log10_ratio: float
    ms: dict[str, tuple[float, ...]]
    """Form, or `SparseProp` → medians, one a seed."""


class TrialsRow(_Row):
    """A sweep of trials that do nothing, through Ray, MLflow off."""

    trials: int
    seconds: float
    """Of the whole command: Ray's start, tables and figures included."""
    driver_mb: float
    """Peak resident memory of the driver."""


CaseRow = StepRow | WaysRow | TogetherRow | MaskRow
"""Of one network."""
_TABLES = ("steps", "ways", "together", "masks")


class Measurements(_Row):
    """All that one run of `mica-sweep bench` measured."""

    device: str
    host: str
    threads: int
    started: str
    versions: dict[str, str]
    peak_gflops: dict[str, float]
    """Precision → speed of a large matrix product."""
    steps: tuple[StepRow, ...] = ()
    ways: tuple[WaysRow, ...] = ()
    together: tuple[TogetherRow, ...] = ()
    masks: tuple[MaskRow, ...] = ()
    trials: TrialsRow | None = None


def save(found: Measurements) -> None:
    """Keep them for `mica-sweep plan`; what an earlier run in the same setting measured besides stays."""
    before = saved()
    if before is not None and _setting(before) == _setting(found):
        kept = {name: _newest(getattr(before, name), getattr(found, name)) for name in _TABLES}
        found = found.model_copy(update={**kept, "trials": found.trials or before.trials})
    write_file(_place(), found.model_dump_json(indent=2).encode())


def saved() -> Measurements | None:
    """What was measured last on this machine; None if nothing was, or by a version of other measures."""
    try:
        return Measurements.model_validate_json(_place().read_text())
    except (OSError, ValidationError):
        return None


def _setting(found: Measurements) -> tuple[object, ...]:
    return found.host, found.device, found.threads, found.versions


def _newest(before: tuple[CaseRow, ...], found: tuple[CaseRow, ...]) -> tuple[CaseRow, ...]:
    """Each case's newest row."""
    cases = {
        (row.model, row.method, row.log10_ratio, getattr(row, "precision", "")): row
        for row in (*before, *found)
    }
    return tuple(cases.values())


def _place() -> Path:
    return cache_folder() / "bench" / "measurements.json"
