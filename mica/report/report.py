"""The end of a sweep: a table to read, figures to look at, and where everything lies."""

import tempfile
from pathlib import Path

import click
from rich.console import Console

from mica.data.location import shown
from mica.report.figures import draw
from mica.report.summary import as_latex, as_markdown, rich_table, summary
from mica.sweep.results import Results
from mica.sweep.store.layout import FIGURES, TABLES
from mica.sweep.store.tables import trials_table, write_tables


def write_report(results: Results, console: Console, *, published: str | None = None) -> None:
    """Write tables and figures beside the records, print the results and where things lie."""
    folder = results.store.folder
    if not results.stored:
        console.print(f"{results.name}: no finished trial yet", highlight=False)
        return
    tables = write_tables(results.titled(results.everything), folder)
    trials = tables[f"{TABLES}/trials.parquet"].to_pandas()
    trials = trials[trials["trial_key"].isin(results.stored)]
    with tempfile.TemporaryDirectory(prefix="mica-figures-") as scratch:
        figures = draw(trials, Path(scratch), published=published)
        folder.upload(Path(scratch), FIGURES)
    for table in rich_table(summary(trials), width=console.width):
        console.print(table)
    lines = [
        (
            "tables",
            f"{shown(folder.place)}/{TABLES}/trials.parquet (and layers, epochs): pandas.read_parquet",
        ),
        (
            "figures",
            f"{shown(folder.place)}/{FIGURES}/"
            + ", ".join(sorted(f.name for f in figures if f.suffix == ".png")),
        ),
    ]
    if results.mlflow_uri:
        lines.append(("MLflow", f"{shown(results.mlflow_uri)}: mica-sweep ui {results.place}"))
    for name, text in lines:
        console.print(f"{name:8} {text}", highlight=False, soft_wrap=True)


def print_table(results: Results, form: str) -> None:
    """The results as Markdown or LaTeX, ready to paste."""
    trials = trials_table(results.titled(results.stored)).to_pandas()
    click.echo({"markdown": as_markdown, "latex": as_latex}[form](summary(trials)))
