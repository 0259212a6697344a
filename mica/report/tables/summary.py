"""The result at a glance: a row a cell, and for reading methods × ratios, for a terminal or a paper."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mica.report.cells.grouping import CELL, by_series, cells, finished, seeds_title
from mica.report.cells.series import Series
from mica.report.cells.statistic import COLUMN, WORDS, Statistic
from mica.report.tables.text_table import TextTable, latex, markdown

_PADDING = 2
"""Characters between columns; one more stands at a table's edge."""


def summary(trials: pd.DataFrame, statistic: Statistic = "last") -> pd.DataFrame:
    """A row a cell, the trials that differ in their seed alone; failed trials are left out.

    Columns: `dataset`, `model`, those of `report.cells.series.Series` (`method`, `budget`, `variant`, what
    else tells a method's trials apart, empty as a rule, …), `log10_ratio`, `target` (what that ratio counts),
    `seeds`, `collapsed` (how many), `test_top1_mean` and `test_top1_std` (percent, by the statistic; of the
    seeds that were trained; the sample's standard deviation), `corrected_ratio` (mean of the finite ones),
    `functional_share` (functional / placed edges, mean).
    """
    kept = finished(trials)
    rows = cells(kept, COLUMN[statistic])
    ratios = kept.groupby(CELL, as_index=False).agg(
        corrected_ratio=("corrected_ratio", "mean"), target=("target", "first")
    )
    rows = rows.merge(ratios, on=CELL, how="left")
    rows = rows.rename(columns={"accuracy": "test_top1_mean", "accuracy_std": "test_top1_std"})
    rows["functional_share"] = rows["share"] / 100
    measures = ["test_top1_mean", "test_top1_std", "corrected_ratio", "functional_share"]
    return rows[[*CELL, "target", "seeds", "collapsed", *measures]]


def rich_table(found: pd.DataFrame, statistic: Statistic = "last", width: int = 100) -> list[RenderableType]:
    """A `summary` for a terminal, to print one after the other: methods × ratios, broken at `width`."""
    return [part for grid in _grids(found, statistic) for part in _terminal(grid, width)]


def as_markdown(found: pd.DataFrame, statistic: Statistic = "last") -> str:
    """A `summary` as Markdown, a table a data set and model."""
    return "\n\n".join(markdown(_for_papers(grid)) for grid in _grids(found, statistic)) + "\n"


def as_latex(found: pd.DataFrame, statistic: Statistic = "last") -> str:
    """A `summary` as LaTeX, a float a data set and model; it needs the package booktabs."""
    return "\n\n".join(latex(_for_papers(grid)) for grid in _grids(found, statistic)) + "\n"


@dataclass(frozen=True)
class Entry:
    """One cell as text: accuracy and spread, or functional edges where nothing was trained."""

    mean: str = ""
    spread: str = ""
    collapsed: str = ""

    def text(self) -> str:
        """`45.3 ± 0.8`, `45.3 ± 0.8 (collapsed 1/3)`, `collapsed 3/3`; a dash for a cell not run yet."""
        if not self.mean:
            return f"collapsed {self.collapsed}" if self.collapsed else "–"
        value = f"{self.mean} ± {self.spread}" if self.spread else self.mean
        return f"{value} (collapsed {self.collapsed})" if self.collapsed else value


@dataclass(frozen=True)
class Grid:
    """Methods × ratios of one data set and model."""

    title: str
    caption: str
    ratios: list[float]
    rows: list[tuple[Series, dict[float, Entry]]]


def _grids(found: pd.DataFrame, statistic: Statistic) -> Iterator[Grid]:
    for (dataset, model), rows in found.groupby(["dataset", "model"]):
        trained = bool(rows["test_top1_mean"].notna().any()) or bool(
            (rows["collapsed"] == rows["seeds"]).all()
        )
        pruned = rows[rows["method"] != "dense"]
        lines = [
            (series, {row["log10_ratio"]: _entry(row, trained) for _, row in part.iterrows()})
            for series, part in by_series(rows)
        ]
        dense = [_entry(row, trained).text() for _, row in rows[rows["method"] == "dense"].iterrows()]
        yield Grid(
            title=f"{dataset}, {model}" + (f": dense {', '.join(dense)}" if any(dense) and trained else ""),
            caption=_caption(pruned if len(pruned) else rows, trained, statistic),
            ratios=sorted(pruned["log10_ratio"].unique()),
            rows=lines,
        )


def _entry(row: pd.Series, trained: bool) -> Entry:
    collapsed = f"{row['collapsed']}/{row['seeds']}" if row["collapsed"] else ""
    value = row["test_top1_mean"] if trained else 100 * row["functional_share"]
    if pd.isna(value) or (row["collapsed"] == row["seeds"]):
        return Entry(collapsed=collapsed)
    return Entry(
        mean=f"{value:.1f}",
        spread=f"{row['test_top1_std']:.1f}" if trained and pd.notna(row["test_top1_std"]) else "",
        collapsed=collapsed,
    )


def _caption(rows: pd.DataFrame, trained: bool, statistic: Statistic) -> str:
    what = f"Test top-1 {WORDS[statistic]}, %" if trained else "Functional edges, %"
    many = trained and bool((rows["seeds"] > 1).any())
    spread = ", mean ± standard deviation" if many else ""
    targets = " or ".join(sorted(rows["target"].unique(), reverse=True))
    text = f"{what}{spread}; {seeds_title(rows)}; columns are {targets} compression ratios"
    if (rows["collapsed"] > 0).any():
        text += "; collapsed k/n: k of n seeds have no functional edge"
        text += ", and the mean is of the others" if trained else ", and count as 0"
    return text + "."


def _terminal(grid: Grid, width: int) -> Iterator[RenderableType]:
    yield Text(grid.title, style="bold")
    names = max([len("method"), *(len(series.name) for series, _ in grid.rows)])
    for ratios in _blocks(grid, width - names - _PADDING - 1):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("method", overflow="fold")
        for ratio in ratios:
            table.add_column(f"10^{round(ratio, 2):g}", justify="right", no_wrap=True)
        for series, entries in grid.rows:
            table.add_row(series.name, *(_styled(entries.get(ratio, Entry())) for ratio in ratios))
        yield table
    yield Text(grid.caption + "\n", style="dim")


def _blocks(grid: Grid, room: int) -> list[list[float]]:
    """The ratios in runs whose columns fit side by side, at least one in each."""
    blocks: list[list[float]] = []
    left = 0
    for ratio in grid.ratios:
        texts = [_stacked(entries.get(ratio, Entry())) for _, entries in grid.rows]
        lines = [line for text in [f"10^{round(ratio, 2):g}", *texts] for line in text.splitlines()]
        wide = max(map(len, lines)) + _PADDING
        if not blocks or wide > left:
            blocks.append([])
            left = room
        blocks[-1].append(ratio)
        left -= wide
    return blocks


def _stacked(entry: Entry) -> str:
    """What is said of collapsed seeds goes below, which keeps columns narrow."""
    return entry.text().replace(" (", "\n").replace(")", "").replace("collapsed ", "collapsed\n")


def _styled(entry: Entry) -> Text:
    return Text(_stacked(entry), style="" if entry.mean else "dim")


def _for_papers(grid: Grid) -> TextTable:
    return TextTable(
        title=grid.title,
        caption=grid.caption,
        head=("method", *(f"10^{round(ratio, 2):g}" for ratio in grid.ratios)),
        rows=[
            (series.label, *(entries.get(ratio, Entry()).text() for ratio in grid.ratios))
            for series, entries in grid.rows
        ],
    )
