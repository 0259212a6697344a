"""A benchmark's figures for people."""

from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mica.bench.figures import Figures, GpuUse, MaskRow, StepRow, TrialsRow


def tables(figures: Figures) -> RenderableType:
    """All that was measured, and where."""
    peaks = ", ".join(f"{name} {speed:,.0f} GFLOP/s" for name, speed in figures.peak_gflops.items())
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    where = f"{figures.device}, {figures.threads} threads; matrix products: {peaks}\n{versions}"
    parts: list[RenderableType] = [Text(where)]
    if figures.steps:
        parts.append(_steps(figures.steps))
    if figures.masks:
        parts.append(_masks(figures.masks))
    if figures.trials:
        parts.append(Text(_trials(figures.trials)))
    return Group(*parts)


def _steps(rows: tuple[StepRow, ...]) -> Table:
    seeds = len(rows[0].mica_ms)
    table = Table(
        title=f"one training step in ms, batch {rows[0].batch_size}, medians over seeds: {seeds}",
        caption="usual: weights × masks at full width, fp32, eager, contiguous, in the same process. "
        "spread: interquartile range of mica's steps. limit: the functional edges' arithmetic at the speed "
        "of a matrix product, as a share of mica's step. loss: relative difference at the first step.",
    )
    for name in ("model", "method", "ratio"):
        table.add_column(name, no_wrap=True)
    for name in ("usual", "mica", "faster", "spread", "images/s", "limit", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    if rows[0].gpu:
        table.add_column("GPU", justify="right", no_wrap=True)
    for row in rows:
        mine = median(row.mica_ms)
        method = row.method if row.precision == "fp32" else f"{row.method} {row.precision}"
        table.add_row(
            row.model,
            method,
            _ratio(row.log10_ratio),
            f"{median(row.masked_dense_ms):,.0f}",
            f"{mine:,.1f}",
            f"{row.faster:,.1f}×",
            f"{median(row.spread):.0%}",
            f"{1000 * row.batch_size / mine:,.0f}",
            f"{median(row.limit_share):.1%}" if row.limit_share else "",
            f"{row.loss_difference:.0e}",
            *([_gpu(row.gpu)] if row.gpu else []),
        )
    return table


def _gpu(use: GpuUse) -> str:
    """How busy it is, and the share of a GPU that such a trial should be given."""
    busy = "" if use.busy is None else f"{use.busy:.0%} busy, "
    return f"{busy}gpu: {1 / use.packed:.2g}"


def _masks(rows: tuple[MaskRow, ...]) -> Table:
    table = Table(title="a mask, the network traced beforehand, nothing cached")
    for name in ("model", "method", "ratio"):
        table.add_column(name)
    for name in ("seconds", "functional edges, seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        seconds = (f"{median(times):.3f}" for times in (row.seconds, row.functional_seconds))
        table.add_row(row.model, row.method, _ratio(row.log10_ratio), *seconds)
    return table


def _trials(row: TrialsRow) -> str:
    each = 1000 * row.seconds / row.trials
    return (
        f"{row.trials:,} trials that do nothing: {row.seconds:.0f} s, Ray's start and the report included; "
        f"{each:.0f} ms a trial, {row.trials / row.seconds:.0f} trials a second; "
        f"the driver took at most {row.driver_mb:.0f} MB"
    )


def _ratio(log10_ratio: float) -> str:
    return f"10^{log10_ratio:g}" if log10_ratio else "1"
