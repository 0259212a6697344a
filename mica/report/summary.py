"""The result at a glance: a row a cell, and for reading methods × ratios, for a terminal or a paper."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mica.report.appearance import Series
from mica.report.cells import CELL, by_series, cells, finished, seeds_title

_PADDING = 2
"""Characters between columns; one more stands at a table's edge."""


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, the trials that differ in their seed alone; failed trials are left out.

    Columns: `dataset`, `model`, those of `mica.report.appearance.Series` (`method`, `budget`, `variant`, what
    else tells a method's trials apart, empty as a rule, …), `log10_ratio`, `seeds`, `collapsed` (how many),
    `test_top1_mean` and `test_top1_std` (percent; of the seeds that were trained; the sample's standard
    deviation), `corrected_ratio` (mean of the finite ones), `functional_share` (functional / placed
    edges, mean).
    """
    kept = finished(trials)
    rows = cells(kept)
    ratios = kept.groupby(CELL, as_index=False)["corrected_ratio"].mean()
    rows = rows.merge(ratios, on=CELL, how="left")
    rows = rows.rename(columns={"accuracy": "test_top1_mean", "accuracy_std": "test_top1_std"})
    rows["functional_share"] = rows["share"] / 100
    measures = ["test_top1_mean", "test_top1_std", "corrected_ratio", "functional_share"]
    return rows[[*CELL, "seeds", "collapsed", *measures]]


def rich_table(found: pd.DataFrame, width: int = 100) -> list[RenderableType]:
    """A `summary` for a terminal, to print one after the other: methods × ratios, broken at `width`."""
    return [part for grid in _grids(found) for part in _terminal(grid, width)]


def as_markdown(found: pd.DataFrame) -> str:
    """A `summary` as Markdown, a table a data set and model."""
    return "\n\n".join(_markdown(grid) for grid in _grids(found)) + "\n"


def as_latex(found: pd.DataFrame) -> str:
    """A `summary` as LaTeX, a `tabular` a data set and model; it needs the package booktabs."""
    return "\n\n".join(_latex(grid) for grid in _grids(found)) + "\n"


@dataclass(frozen=True)
class Entry:
    """One cell as text: accuracy and spread, or functional edges where nothing was trained."""

    mean: str = ""
    spread: str = ""
    collapsed: str = ""
    best: bool = False
    """Whether no other method is more accurate at this ratio, as printed."""

    def text(self, plus_minus: str = "±") -> str:
        """`45.3 ± 0.8`, `45.3 ± 0.8 (1/3)`, `collapsed 3/3`; empty for a cell not run yet."""
        if not self.mean:
            return f"collapsed {self.collapsed}" if self.collapsed else ""
        value = f"{self.mean} {plus_minus} {self.spread}" if self.spread else self.mean
        return f"{value} ({self.collapsed})" if self.collapsed else value


@dataclass(frozen=True)
class Grid:
    """Methods × ratios of one data set and model."""

    title: str
    caption: str
    ratios: list[float]
    rows: list[tuple[Series, dict[float, Entry]]]


def _grids(found: pd.DataFrame) -> Iterator[Grid]:
    for (dataset, model), rows in found.groupby(["dataset", "model"]):
        trained = bool(rows["test_top1_mean"].notna().any()) or bool(
            (rows["collapsed"] == rows["seeds"]).all()
        )
        pruned = rows[rows["method"] != "dense"]
        best = pruned["test_top1_mean"].round(1).groupby(pruned["log10_ratio"]).max()
        lines = [
            (series, {row["log10_ratio"]: _entry(row, trained, best) for _, row in part.iterrows()})
            for series, part in by_series(rows)
        ]
        dense = [_entry(row, trained, best).text() for _, row in rows[rows["method"] == "dense"].iterrows()]
        yield Grid(
            title=f"{dataset}, {model}" + (f": dense {', '.join(dense)}" if any(dense) and trained else ""),
            caption=_caption(pruned if len(pruned) else rows, trained),
            ratios=sorted(pruned["log10_ratio"].unique()),
            rows=lines,
        )


def _entry(row: pd.Series, trained: bool, best: pd.Series) -> Entry:
    collapsed = f"{row['collapsed']}/{row['seeds']}" if row["collapsed"] else ""
    value = row["test_top1_mean"] if trained else 100 * row["functional_share"]
    if pd.isna(value) or (row["collapsed"] == row["seeds"]):
        return Entry(collapsed=collapsed)
    return Entry(
        mean=f"{value:.1f}",
        spread=f"{row['test_top1_std']:.1f}" if trained and pd.notna(row["test_top1_std"]) else "",
        collapsed=collapsed,
        best=trained and row["method"] != "dense" and round(value, 1) == best[row["log10_ratio"]],
    )


def _caption(rows: pd.DataFrame, trained: bool) -> str:
    what = "Test top-1, %" if trained else "Functional edges, %"
    many = trained and bool((rows["seeds"] > 1).any())
    spread = ", mean ± standard deviation" if many else ""
    text = f"{what}{spread}; {seeds_title(rows)}; columns are nominal compression ratios"
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
    text = entry.text() or "–"
    return text.replace(" (", "\n(").replace("collapsed ", "collapsed\n")


def _styled(entry: Entry) -> Text:
    return Text(_stacked(entry), style="bold" if entry.best else "" if entry.mean else "dim")


def _markdown(grid: Grid) -> str:
    head = ["method", *(f"10^{round(ratio, 2):g}" for ratio in grid.ratios)]
    lines = [head, ["---", *("---:" for _ in grid.ratios)]]
    for series, entries in grid.rows:
        chosen = [entries.get(ratio, Entry()) for ratio in grid.ratios]
        texts = [f"**{entry.text()}**" if entry.best else entry.text() for entry in chosen]
        lines.append([series.label, *texts])
    table = "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines)
    return f"**{grid.title}**\n\n{table}\n\n{grid.caption}"


def _latex(grid: Grid) -> str:
    head = ["Method", *(f"$10^{{{round(ratio, 2):g}}}$" for ratio in grid.ratios)]
    lines = [
        f"% {_escaped(grid.title)}. {_escaped(grid.caption)}",
        rf"\begin{{tabular}}{{l{'r' * len(grid.ratios)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for series, entries in grid.rows:
        chosen = [_latex_entry(entries.get(ratio, Entry())) for ratio in grid.ratios]
        lines.append(" & ".join([_escaped(series.label), *chosen]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_entry(entry: Entry) -> str:
    if not entry.mean:
        return entry.text() or "--"
    text = entry.text(r"$\pm$")
    return rf"\textbf{{{text}}}" if entry.best else text


def _escaped(text: str) -> str:
    special = {c: "\\" + c for c in "&%$#_{}"} | {"^": r"\^{}", "~": r"\~{}", "\\": r"\textbackslash{}"}
    return "".join(special.get(c, c) for c in text).replace("±", r"$\pm$").replace("·", r"$\cdot$")
