"""What a benchmark measured, for people, on a terminal or in a pipe, 80 columns wide."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import floor
from statistics import median

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mica.bench.measurements import (
    CaseRow,
    GpuUse,
    MaskRow,
    Measurements,
    StepRow,
    TogetherRow,
    TrialsRow,
    WaysRow,
)

_STEPS_ARE = (
    "usual: weights × masks at full width, fp32, eager, contiguous, in the same process. spread: "
    "interquartile range of mica's steps. limit: the functional edges' arithmetic at the speed of a matrix "
    "product, as a share of mica's step. loss: relative difference at the first step."
)
_WAYS_ARE = (
    "plain: the whole network. compact: without the channels that can never matter. by edges, on a CPU: also "
    "edge by edge where a layer is sparse enough, as a trial is. as a graph: likewise on a GPU, where it has "
    "not run yet. SparseProp: the published kernels, in the layers where they are faster than torch's."
)
_TOGETHER_ARE = "Of 4,000 training images, and 1,000 each in validation and test."
_GPU_IS = (
    "Of mica's training. busy: share of the time in which the GPU computes. gpu: what a sweep's resources "
    "may give to a trial, so that memory and time suffice for all at once."
)


def tables(measured: Measurements) -> RenderableType:
    """All that was measured, and where."""
    peaks = ", ".join(f"{name} {speed:,.0f} GFLOP/s" for name, speed in measured.peak_gflops.items())
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    where = f"{measured.device}, {measured.threads} threads; matrix products: {peaks}\n{versions}\n"
    parts: list[RenderableType] = [Text(where)]
    if measured.steps:
        parts += _steps(measured.steps)
    if measured.ways:
        parts += _ways(measured.ways)
    if measured.together:
        parts += _together(measured.together)
    if measured.masks:
        parts += _masks(measured.masks)
    if measured.trials:
        parts.append(Text(_trials(measured.trials)))
    return Group(*parts)


def _steps(rows: tuple[StepRow, ...]) -> Iterator[RenderableType]:
    seeds = len(rows[0].mica_ms)
    title = f"One training step in ms, batch {rows[0].batch_size}, medians over seeds: {seeds}"
    columns = ("usual", "mica", "faster", "spread", "images/s", "limit", "loss")
    yield from _by_model(title, columns, [(row, _step(row)) for row in rows], _STEPS_ARE)
    if used := [(row, _gpu(row.gpu)) for row in rows if row.gpu]:
        yield from _by_model("The GPU", ("busy", "memory", "gpu"), used, _GPU_IS)


def _step(row: StepRow) -> list[str]:
    usual, mine = median(row.masked_dense_ms), median(row.mica_ms)
    return [
        _three_digits(usual),
        _three_digits(mine),
        f"{_three_digits(row.faster)}×",
        f"{median(row.spread):.0%}",
        f"{1000 * row.batch_size / mine:,.0f}",
        f"{median(row.limit_share):.1%}" if row.limit_share else "",
        f"{row.loss_difference:.0e}",
    ]


def _gpu(use: GpuUse) -> list[str]:
    return ["" if use.busy is None else f"{use.busy:.0%}", f"{use.memory:.1%}", gpu_share(use.packed)]


def gpu_share(trials: int) -> str:
    """What each of so many trials may ask of a GPU: never more, in Ray's steps of a ten-thousandth."""
    return f"{floor(10_000 / trials) / 10_000:g}"


def _ways(rows: tuple[WaysRow, ...]) -> Iterator[RenderableType]:
    names = tuple(dict.fromkeys(name for row in rows for name in row.ms))
    texts = [
        (row, [_three_digits(median(row.ms[name])) if name in row.ms else "" for name in names])
        for row in rows
    ]
    yield from _by_model("One training step in ms, each way", names, texts, _WAYS_ARE)


def _together(rows: tuple[TogetherRow, ...]) -> Iterator[RenderableType]:
    texts = [
        (
            row,
            [
                f"{row.trials}",
                *(_three_digits(median(times)) for times in (row.apart_seconds, row.together_seconds)),
                f"{_three_digits(row.faster)}×",
            ],
        )
        for row in rows
    ]
    title = "An epoch of several trials of one seed in seconds, in one process"
    yield from _by_model(title, ("trials", "one by one", "together", "faster"), texts, _TOGETHER_ARE)


def _masks(rows: tuple[MaskRow, ...]) -> Iterator[RenderableType]:
    texts = [
        (row, [f"{median(times):.3f}" for times in (row.seconds, row.functional_seconds)]) for row in rows
    ]
    title = "A mask in seconds, the network traced beforehand, nothing cached"
    yield from _by_model(title, ("mask", "functional edges"), texts)


def _by_model(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[CaseRow, list[str]]],
    caption: str = "",
) -> Iterator[RenderableType]:
    """A table a network, which narrow terminals have room for."""
    yield Text(title, style="bold")
    for model, group in groupby(rows, key=lambda item: item[0].model):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column(model, overflow="fold")
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for row, texts in group:
            table.add_row(_title(row), *texts)
        yield table
    yield Text(caption + "\n" if caption else "", style="dim")


def _title(row: CaseRow) -> str:
    ratio = f" 10^{row.log10_ratio:g}" if row.log10_ratio else ""
    precision = f" {row.precision}" if isinstance(row, StepRow) and row.precision != "fp32" else ""
    return f"{row.method}{ratio}{precision}"


def _three_digits(value: float) -> str:
    """All digits before the point, and as many after it as make three."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"


def _trials(row: TrialsRow) -> str:
    each = 1000 * row.seconds / row.trials
    return (
        f"{row.trials:,} trials that do nothing: {row.seconds:.0f} s, Ray's start and the report included; "
        f"{each:.0f} ms a trial, {row.trials / row.seconds:.0f} trials a second; "
        f"the driver took at most {row.driver_mb:.0f} MB"
    )
