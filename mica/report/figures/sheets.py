"""The paper's Figures 5 to 9: a row a network, a column a kind of distribution, as much as has been run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mica.pruning.methods import is_ranking
from mica.report.cells.series import Series
from mica.report.figures.curves import GREY
from mica.report.figures.looks import INCHES, key, own_marker
from mica.report.figures.pages import Lines, Page

_RULES, _RANKINGS = False, True
_TITLES = {_RULES: "Distributions by rule", _RANKINGS: "Distributions by ranking"}


@dataclass(frozen=True)
class Sheet:
    """One of the paper's figures."""

    name: str
    page: str
    """Which of a network's `Page`s it shows."""
    columns: Mapping[bool, tuple[str, ...]]
    """For distributions by ranking or not: the families of methods that are compared."""

    def lines(self, page: Page, ranking: bool) -> Lines:
        """Those of one panel."""
        families = self.columns[ranking]
        return [pair for pair in page.lines if _ranks(pair[0]) == ranking and pair[0].family in families]


_CORRECTED = {
    _RULES: ("mica (corrected)", "random"),
    _RANKINGS: ("mica (corrected)", "rbpi"),
}
SHEETS = (
    Sheet("figure5", "functional-edges", {_RULES: ("mica", "random"), _RANKINGS: ("mica", "random")}),
    Sheet("figure6", "accuracy", {_RULES: ("mica", "random"), _RANKINGS: ("mica", "random")}),
    Sheet("figure7", "accuracy", {_RANKINGS: ("mica", "rbpi")}),
    Sheet("figure8", "accuracy", _CORRECTED),
    Sheet("figure9", "functional-nodes", _CORRECTED),
)
"""Functional edges and accuracy of MiCA and random pruning; accuracy of MiCA and ranking; accuracy and
functional nodes of MiCA with the corrected budgets of those that it is compared with."""


def sheet_figure(sheet: Sheet, networks: Sequence[Mapping[str, Page]]) -> Figure | None:
    """The figure of one data set, from each network's pages by name; None where it would compare nothing."""
    rows = [network[sheet.page] for network in networks if sheet.page in network]
    columns = [ranking for ranking in sheet.columns if any(_compares(sheet, page, ranking) for page in rows)]
    rows = [page for page in rows if any(_compares(sheet, page, ranking) for ranking in columns)]
    if not rows or not columns:
        return None
    size = (INCHES["page"] * (1 if len(columns) > 1 else 0.62), 0.9 + 2.3 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), sharex="row", sharey="row", squeeze=False)
    shown: dict[str, Series] = {}
    for axes_of_row, page in zip(grid, rows, strict=True):
        for axes, ranking in zip(axes_of_row, columns, strict=True):
            lines = sheet.lines(page, ranking)
            _panel(axes, page, lines, size[0] / len(columns))
            shown |= {series.label: series for series, _ in lines}
        axes_of_row[0].set_ylabel(page.y_label)
    for axes, ranking in zip(grid[0], columns, strict=True):
        axes.set_title(f"{_TITLES[ranking]}\n{axes.get_title()}")
    for axes in grid[-1]:
        axes.set_xlabel(rows[0].x_label)
    notes = {str(note.get_label()): note for page in rows for note in page.notes}
    handles: list[Artist] = [key(series, label, series.colour) for label, series in shown.items()]
    wide = 3 if len(columns) > 1 else 2
    figure.legend(handles=[*handles, *notes.values()], loc="outside lower center", ncols=wide)
    return figure


def _panel(axes: Axes, page: Page, lines: Lines, width: float) -> None:
    axes.set_title(page.title)
    if lines:
        page.paint(axes, lines, 72 * 0.8 * width, own_marker)
    else:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=GREY)


def _compares(sheet: Sheet, page: Page, ranking: bool) -> bool:
    """Whether there is more than one family to see."""
    return ranking in sheet.columns and len({s.family for s, _ in sheet.lines(page, ranking)}) > 1


def _ranks(series: Series) -> bool:
    """A user's own distribution counts as a rule: nobody imports it for a figure."""
    named = ":" in series.distribution
    return series.distribution == "global" or (not named and is_ranking(series.distribution))
