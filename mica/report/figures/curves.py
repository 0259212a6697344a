"""What is drawn inside one pair of axes: accuracy against corrected ratio, a share against nominal ratio."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from matplotlib.transforms import ScaledTranslation, Transform

from mica.report.cells.series import Series
from mica.report.figures.looks import MarkerOf

GREY = "#555555"
BAND = 0.15
DENSE_LINE = (0, (5, 3))
CHANCE_LINE = (0, (1, 2))
_POINT = 4.2
"""Marker size; a point at which some seeds collapsed is drawn half."""


def accuracy_curves(
    axes: Axes,
    lines: Sequence[tuple[Series, pd.DataFrame]],
    chance: float,
    spacing: float,
    marker_of: MarkerOf,
) -> None:
    """One line a method; collapsed cells hollow, at chance and at their nominal ratio.

    Where several methods collapse at one ratio their markers stand side by side, `spacing` points apart.
    """
    for rank, (series, rows) in enumerate(lines):
        alive = rows[rows["accuracy"].notna() & rows["x"].notna()]
        # The first methods of the legend lie on top.
        marker = marker_of(series)
        _line(axes, series, marker, alive["x"], alive, "accuracy", zorder=3 + (len(lines) - rank) / 100)
        partial = alive[alive["collapsed"] > 0]
        _line(axes, series, marker, partial["x"], partial, "accuracy", half=True, zorder=4)
        for _, row in partial.iterrows():
            axes.annotate(
                f"{row['collapsed']}/{row['seeds']}",
                (row["x"], row["accuracy"]),
                xytext=(4, 3),
                textcoords="offset points",
                color=series.colour,
                fontsize=6.5,
                zorder=5,
            )
    _collapsed(axes, lines, chance, spacing, marker_of)


def _collapsed(
    axes: Axes,
    lines: Sequence[tuple[Series, pd.DataFrame]],
    chance: float,
    spacing: float,
    marker_of: MarkerOf,
) -> None:
    found = {series: rows.loc[rows["collapsed"] > 0, "log10_ratio"] for series, rows in lines}
    crowds = pd.concat(found.values()).value_counts() if found else pd.Series(dtype=int)
    placed: dict[float, int] = {}
    for series, ratios in found.items():
        for ratio in ratios:
            index = placed[ratio] = placed.get(ratio, -1) + 1
            shift = spacing * (index - (crowds[ratio] - 1) / 2)
            axes.plot(
                [ratio],
                [chance],
                color=series.colour,
                marker=marker_of(series),
                markersize=min(_POINT, spacing),
                markerfacecolor="white",
                linestyle="none",
                transform=_shifted(axes, shift),
                clip_on=False,
                zorder=3,
            )


def share_curves(
    axes: Axes, lines: Sequence[tuple[Series, pd.DataFrame]], name: str, marker_of: MarkerOf
) -> None:
    """One line a method against nominal ratio, moved aside a little so that equal ones stay visible."""
    for rank, (series, rows) in enumerate(lines):
        known = rows[rows[name].notna()]
        shift = 1.6 * (rank - (len(lines) - 1) / 2)
        zorder = 3 + (len(lines) - rank) / 100
        marker = marker_of(series)
        _line(axes, series, marker, known["log10_ratio"], known, name, shift=shift, zorder=zorder)
    axes.set_ylim(-4, 104)


def dense_lines(axes: Axes, dense: pd.DataFrame) -> None:
    """The network that was not pruned: its mean, and its seeds' spread."""
    for _, row in dense[dense["accuracy"].notna()].iterrows():
        axes.axhline(row["accuracy"], color=GREY, linewidth=1.0, linestyle=DENSE_LINE, zorder=2)
        axes.axhspan(row["accuracy_low"], row["accuracy_high"], color=GREY, alpha=BAND, linewidth=0, zorder=1)


def chance_line(axes: Axes, chance: float) -> None:
    """What guessing scores."""
    axes.axhline(chance, color=GREY, linewidth=0.6, linestyle=CHANCE_LINE, zorder=1)


def published_crosses(axes: Axes, points: Sequence[tuple[Series, pd.DataFrame]]) -> None:
    """Others' numbers, faint, in the colours of the methods."""
    for series, rows in points:
        axes.plot(
            rows["x"],
            rows["accuracy"],
            color=series.colour,
            marker="x",
            markersize=7.5,
            markeredgewidth=0.9,
            alpha=0.55,
            linestyle="none",
            zorder=5,
        )


def percent_axis(axes: Axes, values: Iterable[float]) -> None:
    """A vertical axis that shows all values with air around, never a spread magnified beyond sense."""
    shown = [value for value in values if not math.isnan(value)]
    low, high = min(shown), max(shown)
    pad = max(0.05 * (high - low), (20 - (high - low)) / 2)
    axes.set_ylim(max(low - pad, -1), min(high + pad, 101))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def powers_of_ten(axes: Axes, low: float, high: float) -> None:
    """An axis of log10 values labelled 10^x, from a little below `low` to a little above `high`."""
    pad = max(0.04 * (high - low), 0.15)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MultipleLocator(0.5 if high - low < 2 else 1))
    axes.xaxis.set_minor_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"$10^{{{x:g}}}$"))


def _line(
    axes: Axes,
    series: Series,
    marker: str,
    x: pd.Series,
    rows: pd.DataFrame,
    name: str,
    *,
    half: bool = False,
    shift: float = 0,
    zorder: float,
) -> None:
    """Means joined by a line, bars as long as the spread; half markers stand alone, over whole ones."""
    if rows.empty:
        return
    transform = _shifted(axes, shift)
    axes.plot(
        x,
        rows[name],
        color=series.colour,
        linestyle="none" if half else series.line,
        linewidth=1.2,
        marker=marker,
        markersize=_POINT,
        fillstyle="bottom" if half else "full",
        markerfacecoloralt="white",
        markeredgewidth=0.9,
        transform=transform,
        zorder=zorder,
    )
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    if not half and not np.allclose(low, high):
        # Bars, not a band: between corrected ratios far apart a band would show what nobody measured.
        axes.vlines(x, low, high, color=series.colour, linewidth=0.9, transform=transform, zorder=zorder)


def _shifted(axes: Axes, points: float) -> Transform:
    """Data coordinates moved to the right by so many points of the page."""
    scale = axes.get_figure(root=True).dpi_scale_trans  # type: ignore[union-attr]
    return axes.transData + ScaledTranslation(points / 72, 0, scale)
