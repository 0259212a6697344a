"""The end of a sweep: a table to read, figures to look at, and where everything lies."""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import pandas as pd
from pandas.util import hash_pandas_object
from rich.console import Console

from mica import __version__
from mica.data.location import shown
from mica.report.cells.grouping import CELL
from mica.report.cells.reference import published_points
from mica.report.cells.statistic import Statistic
from mica.report.drawn import Drawn, read_drawn, write_drawn
from mica.report.html.page_data import page_data
from mica.report.tables.against import against, against_tables
from mica.report.tables.comparison import GOOD, compare, comparison_table
from mica.report.tables.published import beside_published, published_tables
from mica.report.tables.search_table import search_tables
from mica.report.tables.summary import as_latex, as_markdown, rich_table, summary
from mica.report.tables.text_table import TextTable, for_terminal, latex, markdown
from mica.sweep.results import Results
from mica.sweep.store.layout import FIGURES, PAGE, TABLES
from mica.sweep.store.place import Place
from mica.sweep.store.tables import (
    read_epochs,
    read_layers,
    read_trials,
    trials_table,
    write_tables,
)

if TYPE_CHECKING:
    from mica.report.figures.looks import Width

Form = Literal["text", "markdown", "latex"]


def write_report(
    results: Results,
    console: Console,
    *,
    published: str | None = None,
    statistic: Statistic = "last",
    width: "Width" = "page",
    redraw: bool = True,
) -> None:
    """Write tables and figures beside the records, print the results and where things lie.

    Args:
        redraw: draw figures that show these very results too.

    Raises:
        OSError: tables or figures cannot be written; the results are printed nevertheless.
    """
    place = results.store.place
    if not results.entries:
        console.print(f"{results.name}: no finished trial yet", highlight=False)
        return
    points = published_points(published)
    trials, figures, failed = _write(results, points, statistic, width, redraw)
    if results.rungs:
        for found in search_tables(results.rungs, trials):
            _print(found, console, "text")
        if failed:
            raise failed
        return
    for table in rich_table(summary(trials, statistic), statistic, width=console.width):
        console.print(table)
    if points is not None:
        for beside in published_tables(beside_published(trials, points)):
            _print(beside, console, "text")
    if failed:
        raise failed
    lines = [
        ("tables", f"{place.shown}/{TABLES}/trials.parquet (and layers, epochs): pandas.read_parquet"),
        (
            "figures",
            f"{place.shown}/{FIGURES}/{', '.join(name for name in figures if name.endswith('.png'))}",
        ),
    ]
    if results.mlflow:
        lines.append(("MLflow", f"{shown(results.mlflow)}: mica-sweep ui {results.opened}"))
    for name, text in lines:
        console.print(f"{name:8} {text}", highlight=False, soft_wrap=True)


def _write(
    results: Results,
    points: pd.DataFrame | None,
    statistic: Statistic,
    width: "Width",
    redraw: bool,
) -> tuple[pd.DataFrame, list[str], OSError | None]:
    """Tables and figures; returns the trials, the figures' names, and why not all could be written."""
    store = results.store
    try:
        write_tables(store, results.trials, results.index.names)
        trials = read_trials(store, results.trials, results.entries).to_pandas()
        if results.rungs:  # as many methods as candidates: no figure could show them
            return trials, [], None
        return trials, _figures(store.place, trials, points, statistic, width, redraw), None
    except OSError as error:
        return _trials(results), [], error


def _figures(
    place: Place,
    trials: pd.DataFrame,
    points: pd.DataFrame | None,
    statistic: Statistic,
    width: "Width",
    redraw: bool,
) -> list[str]:
    """Draw what there is to see; returns the figures' names."""
    state = _digest(f"{statistic} {width}", trials, points)
    if not redraw:  # a grid of thousands takes half a minute to draw
        before = read_drawn(place)
        if before is not None and before.state == state:
            return list(before.figures)
    from mica.report.figures.draw import draw  # matplotlib takes a second to import

    with tempfile.TemporaryDirectory(prefix="mica-figures-") as scratch:
        names = sorted(file.name for file in draw(trials, Path(scratch), points, statistic, width))
        place.upload(Path(scratch), FIGURES)
    write_drawn(place, Drawn(state, names))
    return names


def _digest(how: str, *shown: pd.DataFrame | None) -> str:
    """Of all that decides what figures look like."""
    found = hashlib.sha256(f"{__version__} {version('matplotlib')} {how}".encode())
    for table in shown:
        if table is not None:
            found.update(repr(list(table.columns)).encode())
            found.update(hash_pandas_object(table).to_numpy().tobytes())
        found.update(b"|")
    return found.hexdigest()


def write_page(results: Results, statistic: Statistic = "last") -> str:
    """Write all results as one HTML page beside the tables; returns where it lies."""
    from mica.report.html.page import page  # plotly's code is five megabytes

    store, keys = results.store, results.entries
    write_tables(store, results.trials, results.index.names)
    failed = [
        {"trial": str(stored.record.spec), "reason": str(stored.record.reason)}
        for key, entry in results.entries.items()
        if entry.outcome == "failed" and (stored := results.index.stored(key))
    ]
    trials = read_trials(store, results.trials, keys).to_pandas()
    layers, epochs = (read(store, keys).to_pandas() for read in (read_layers, read_epochs))
    data = page_data(results.name, trials, layers, epochs, failed, statistic)
    store.place.write(PAGE, page(results.name, data).encode(), durable=False)
    return f"{store.place.shown}/{PAGE}"


def print_table(
    results: Results, form: Form, *, published: str | None = None, statistic: Statistic = "last"
) -> None:
    """The results as Markdown or LaTeX, ready to paste."""
    show, trials = {"markdown": as_markdown, "latex": as_latex}[form], _trials(results)
    click.echo(show(summary(trials, statistic), statistic))
    if (points := published_points(published)) is not None:
        for table in published_tables(beside_published(trials, points)):
            click.echo(_pasted(table, form))


def print_against(
    results: Results, console: Console, reference: str, form: Form, statistic: Statistic = "last"
) -> None:
    """How each method compares with one of them; raises `UserError` where no method is called that."""
    found = against(_trials(results), reference, statistic)
    if found.empty:
        console.print(f"no other method has finished trials beside those of {reference}", highlight=False)
    for table in against_tables(found, reference, statistic):
        _print(table, console, form)


def print_comparison(
    first: Results, second: Results, console: Console, form: Form | Literal["json"], statistic: Statistic
) -> bool:
    """How two sweeps' results compare; returns whether every cell is equal or within noise."""
    found = compare(_trials(first), _trials(second), statistic)
    if form == "json":
        names = [*CELL[:2], "method", "budget", "variant", "log10_ratio", *found.columns[len(CELL) :]]
        click.echo(found[names].to_json(orient="records", indent=2))
    else:
        _print(comparison_table(found, (str(first.place), str(second.place)), statistic), console, form)
    return bool(found["verdict"].isin(GOOD).all())


def _print(table: TextTable, console: Console, form: Form) -> None:
    if form == "text":
        for part in for_terminal(table):
            console.print(part)
    else:
        click.echo(_pasted(table, form))


def _pasted(table: TextTable, form: Form) -> str:
    return {"markdown": markdown, "latex": latex}[form](table) + "\n"


def _trials(results: Results) -> pd.DataFrame:
    """A row for each of these trials that has ended."""
    trials: pd.DataFrame = trials_table(results.store, results.trials).to_pandas()
    return trials[trials["trial_key"].isin(results.entries)]
