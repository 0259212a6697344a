"""The paper's figures from a table of trials, as PNG, SVG and PDF."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from mica.files import write_file
from mica.report.cells.grouping import finished
from mica.report.cells.statistic import Statistic
from mica.report.figures.curves import GREY
from mica.report.figures.looks import INCHES, STYLE, MarkerOf, Width, family_marker, key, own_marker
from mica.report.figures.pages import Page, pages
from mica.report.figures.sheets import SHEETS, sheet_figure

_DPI = 150
_KINDS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""Each kind of file, without a program's version and a date: the same figure is the same file."""
_MANY = 6
"""With more lines than this, every distribution gets a panel of its own."""


def draw(
    trials: pd.DataFrame,
    folder: Path,
    published: pd.DataFrame | None = None,
    statistic: Statistic = "last",
    width: Width = "page",
) -> list[Path]:
    """Draw, for each data set and model, what its finished trials allow; returns the files written.

    `accuracy-…`: test top-1 against corrected ratio (the paper's Figures 6 to 8).
    `functional-edges-…`: share of functional edges against nominal ratio (Figure 5).
    `functional-nodes-…`: share of functional nodes against nominal ratio (Figure 9).
    `figure5-…` to `figure9-…`: the paper's, a data set's networks in one, where there is much to compare.

    Args:
        trials: the table `trials`.
        folder: made where it is missing.
        published: points to draw beside ours, from `published_points`.
        statistic: of ours; the published points are the highest of all epochs.
        width: that a paper has for a network's figures; the paper's own are as wide as a page.
    """
    files: list[Path] = []
    taken: set[str] = set()
    kept = finished(trials)
    with matplotlib.rc_context(STYLE):
        for dataset, of_dataset in kept.groupby("dataset"):
            networks = []
            for model in _largest_first(of_dataset):
                stem = _stem(f"{dataset}-{model}", taken)
                rows = of_dataset[of_dataset["model"] == model]
                networks.append({page.name: page for page in pages(rows, published, statistic)})
                for name, page in networks[-1].items():
                    files += _save(_figure(page, width), folder, f"{name}-{stem}")
            stem = _stem(str(dataset), taken)
            for sheet in SHEETS:
                if figure := sheet_figure(sheet, networks):
                    files += _save(figure, folder, f"{sheet.name}-{stem}")
    return files


def _largest_first(trials: pd.DataFrame) -> list[str]:
    edges = trials.groupby("model")["edges_total"].max().sort_values(ascending=False, kind="stable")
    return [str(model) for model in edges.index]


def _figure(page: Page, width: Width) -> Figure:
    groups = list(dict.fromkeys(series.group for series, _ in page.lines))
    if len(page.lines) <= _MANY or len(groups) == 1:
        return _one_panel(page, width, family_marker if len(groups) == 1 else own_marker)
    return _panels(page, groups, width)


def _one_panel(page: Page, width: Width, marker_of: MarkerOf) -> Figure:
    """The legend stands beside it where there is room, else below."""
    inches, narrow = INCHES[width], width == "column"
    keys = [key(series, series.label, series.colour, marker_of) for series, _ in page.lines]
    handles = [*keys, *page.notes]
    height = 2.6 + 0.16 * -(-len(handles) // 2) if narrow else 3.6
    figure = Figure(figsize=(inches, height), layout="constrained")
    axes = figure.subplots()
    page.paint(axes, page.lines, 72 * (0.85 if narrow else 0.65) * inches, marker_of)
    axes.set(title=page.title, xlabel=page.x_label, ylabel=page.y_label)
    place = {"loc": "outside lower center", "ncols": 2} if narrow else {"loc": "outside right upper"}
    figure.legend(handles=handles, **place)
    return figure


def _panels(page: Page, groups: Sequence[str], width: Width) -> Figure:
    """A panel a distribution, so that pruners are compared within it; one legend for the families."""
    columns = min(2 if width == "column" else 3, len(groups))
    rows = -(-len(groups) // columns)
    inches = INCHES[width]
    figure = Figure(figsize=(inches, 0.6 + 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, group in zip(grid, groups, strict=False):
        some = [(series, part) for series, part in page.lines if series.group == group]
        page.paint(axes, some, 72 * 0.85 * inches / columns, family_marker)
        axes.set_title(some[0][0].group_title, color=some[0][0].colour)
    for axes in grid[::columns]:
        axes.set_ylabel(page.y_label)
    for axes in grid[len(groups) - columns : len(groups)]:
        axes.set_xlabel(page.x_label)
        axes.tick_params(labelbottom=True)
    figure.suptitle(page.title, fontsize=9)
    families = {series.family_title: series for series, _ in page.lines}
    handles: list[Artist] = [key(series, name, GREY, family_marker) for name, series in families.items()]
    handles += page.notes
    spare = grid[len(groups) :]
    for axes in spare:
        axes.axis("off")
    if len(spare):
        spare[0].legend(handles=handles, loc="center left").set_in_layout(False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if width == "column" else 3)
    return figure


def _stem(label: str, taken: set[str]) -> str:
    """A name that is safe in every file system and not used before."""
    plain = re.sub(r"[^a-z0-9._]+", "-", label.lower()).strip("-.") or "figure"
    stem, count = plain, 1
    while stem in taken:
        count += 1
        stem = f"{plain}-{count}"
    taken.add(stem)
    return stem


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    files = []
    for kind, metadata in _KINDS.items():
        content = io.BytesIO()
        dpi = _DPI if kind == "png" else "figure"
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
        figure.set_layout_engine("none")  # as it is now in the other kinds too: found anew it takes as long
        files.append(folder / f"{stem}.{kind}")
        write_file(files[-1], content.getvalue())
    return files
