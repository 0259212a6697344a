"""What each figure shows: its lines, labels and legend notes, before anything is laid out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mica.report.cells.grouping import by_series, cells, seeds_title
from mica.report.cells.reference import published_series
from mica.report.cells.series import Series
from mica.report.cells.statistic import COLUMN, WORDS, Statistic
from mica.report.figures import curves
from mica.report.figures.looks import MarkerOf

Lines = list[tuple[Series, pd.DataFrame]]


@dataclass(frozen=True)
class Page:
    """One figure before it is drawn."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Lines
    notes: list[Artist]
    paint: Callable[[Axes, Lines, float, MarkerOf], None]
    """Draws some of the lines, with these markers, into axes that are so many points wide."""


def pages(
    kept: pd.DataFrame, published: pd.DataFrame | None, statistic: Statistic = "last"
) -> Iterator[Page]:
    """The figures that the finished trials of one data set and model allow."""
    crosses = published_series(published, kept)
    rows = cells(kept, COLUMN[statistic])
    if rows["accuracy"].notna().any() or kept["collapsed"].all():
        yield _accuracy(rows, 100 / float(kept["classes"].max()), crosses, statistic)
    for name, column in (("edges", "share"), ("nodes", "nodes")):
        known = [(series, part) for series, part in by_series(rows) if part[column].notna().any()]
        if known:
            yield _share(rows, known, name, column)


def _accuracy(rows: pd.DataFrame, chance: float, crosses: Lines, statistic: Statistic) -> Page:
    lines, dense = by_series(rows), rows[rows["method"] == "dense"]
    lost = rows[rows["collapsed"] > 0]
    alive = rows[rows["accuracy"].notna() & (rows["method"] != "dense")]
    points = [*alive["x"].dropna(), *lost["log10_ratio"], *(x for _, part in crosses for x in part["x"])]
    low, high = min(points, default=0.0), max(points, default=1.0)
    heights = [*rows["accuracy_low"], *rows["accuracy_high"], *([] if lost.empty else [chance])]
    heights += [y for _, part in crosses for y in part["accuracy"]]

    def paint(axes: Axes, some: Lines, width: float, marker_of: MarkerOf) -> None:
        # The paper's ratios are half a decade apart; markers of one ratio share that room.
        room = 0.9 * width / (2 * (high - low) + 1)
        curves.dense_lines(axes, dense)
        if not lost.empty:
            curves.chance_line(axes, chance)
        spacing = min(5.0, room / max(len(some), 1))
        curves.accuracy_curves(axes, some, chance, spacing, marker_of)
        names = [series for series, _ in some]
        curves.published_crosses(axes, [pair for pair in crosses if pair[0] in names])
        curves.powers_of_ten(axes, low, high)
        curves.percent_axis(axes, heights)

    notes: list[Artist] = []
    if dense["accuracy"].notna().any():
        notes.append(_note("Dense", linestyle=curves.DENSE_LINE, linewidth=1.0))
    notes += _spread_note(rows, "accuracy")
    if not lost.empty:
        notes.append(_note("Chance", linestyle=curves.CHANCE_LINE, linewidth=0.6))
        notes.append(_note("Collapsed, at its nominal ratio", marker="o", markerfacecolor="white"))
    if lost["accuracy"].notna().any():
        notes.append(
            _note("k/n: k of n seeds collapsed,\nmean of the others", marker="o", fillstyle="bottom")
        )
    if crosses:
        notes.append(_note(f"Published,\n{WORDS['max']}", marker="x", markersize=6.5, alpha=0.7))
    return Page(
        name="accuracy",
        title=_title(rows),
        x_label="Corrected compression ratio",
        y_label=f"Test top-1 {WORDS[statistic]} (%)",
        lines=lines,
        notes=notes,
        paint=paint,
    )


def _share(rows: pd.DataFrame, lines: Lines, name: str, column: str) -> Page:
    ratios = pd.concat([part["log10_ratio"] for _, part in lines])

    def paint(axes: Axes, some: Lines, width: float, marker_of: MarkerOf) -> None:
        curves.share_curves(axes, some, column, marker_of)
        curves.powers_of_ten(axes, float(ratios.min()), float(ratios.max()))

    return Page(
        name=f"functional-{name}",
        title=_title(rows),
        x_label="Nominal compression ratio",
        y_label=f"Functional {name} (%)",
        lines=lines,
        notes=_spread_note(pd.concat([part for _, part in lines]), column),
        paint=paint,
    )


def _title(rows: pd.DataFrame) -> str:
    pruned = rows[rows["method"] != "dense"]
    first = rows.iloc[0]
    return f"{first['dataset']} · {first['model']} · {seeds_title(rows if pruned.empty else pruned)}"


def _spread_note(rows: pd.DataFrame, name: str) -> list[Artist]:
    if not (rows[f"{name}_high"] > rows[f"{name}_low"]).any():
        return []
    return [_note("± standard deviation of seeds", marker="|", markersize=8)]


def _note(label: str, **look: object) -> Line2D:
    plain = {"linestyle": "none", "color": curves.GREY, "markersize": 4.2, "markerfacecoloralt": "white"}
    return Line2D([], [], label=label, **{**plain, **look})  # type: ignore[arg-type]
