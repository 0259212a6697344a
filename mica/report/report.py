"""The end of a sweep: a table to read, figures to look at, and where everything lies."""

import tempfile
from pathlib import Path

import click
import pandas as pd
from rich.console import Console

from mica.data.location import shown
from mica.report.figures import draw
from mica.report.summary import as_latex, as_markdown, rich_table, summary
from mica.sweep.results import Results
from mica.sweep.store.layout import FIGURES, TABLES
from mica.sweep.store.tables import read_trials, trials_table, write_tables


def write_report(results: Results, console: Console, *, published: str | None = None) -> None:
    """Write tables and figures beside the records, print the results and where things lie."""
    place = results.store.place
    if not results.entries:
        console.print(f"{results.name}: no finished trial yet", highlight=False)
        return
    write_tables(results.store, results.trials)
    trials = read_trials(results.store, results.trials, results.entries).to_pandas()
    with tempfile.TemporaryDirectory(prefix="mica-figures-") as scratch:
        figures = draw(trials, Path(scratch), published=published)
        place.upload(Path(scratch), FIGURES)
    for table in rich_table(summary(trials), width=console.width):
        console.print(table)
    lines = [
        ("tables", f"{place.shown}/{TABLES}/trials.parquet (and layers, epochs): pandas.read_parquet"),
        (
            "figures",
            f"{place.shown}/{FIGURES}/" + ", ".join(sorted(f.name for f in figures if f.suffix == ".png")),
        ),
    ]
    if results.mlflow_uri:
        lines.append(("MLflow", f"{shown(results.mlflow_uri)}: mica-sweep ui {results.place}"))
    for name, text in lines:
        console.print(f"{name:8} {text}", highlight=False, soft_wrap=True)


def print_table(results: Results, form: str) -> None:
    """The results as Markdown or LaTeX, ready to paste."""
    click.echo({"markdown": as_markdown, "latex": as_latex}[form](summary(_trials(results))))


def _trials(results: Results) -> pd.DataFrame:
    """A row for each of these trials that has ended."""
    trials: pd.DataFrame = trials_table(results.store, results.trials).to_pandas()
    return trials[trials["trial_key"].isin(results.entries)]
