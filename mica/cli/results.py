"""Commands that read what there is: `plan`, `status`, `collect`, `report`, `compare`; and `release`."""

from pathlib import Path
from typing import Any

import click

from mica.cli.console import EXIT_DIFFERENT, JSON, STORAGE, SWEEP, err, out, print_json, print_note

_FORM = click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "latex"]), default="text",
    help="Of the printed table; markdown and latex can be pasted.",
)  # fmt: skip
_STATISTIC = click.option(
    "--statistic", type=click.Choice(["last", "best-val", "max"]), default="last", show_default=True,
    help="Test accuracy after the last epoch, at the best validation epoch, or the highest of all epochs.",
)  # fmt: skip


@click.command()
@SWEEP
@STORAGE
@click.option("--keys", is_flag=True, help="List every trial with its key.")
@click.option(
    "--measure/--no-measure", default=True, help="Try trials for some seconds if nothing else tells."
)
@JSON
def plan(sweep: Path, storage: str | None, keys: bool, measure: bool, as_json: bool) -> None:
    """Say what a sweep consists of, and how many hours it still takes.

    The hours go by the trials that are done, else by what `mica-sweep bench` measured on this machine, else,
    roughly, by a few of the trials, each tried here for a second or so.
    """
    from mica.bench.forecast import forecast
    from mica.bench.measurements import saved
    from mica.cli.planned import list_trials, planned, print_plan
    from mica.sweep.plan.spec import Resources, load_sweep
    from mica.sweep.results import open_results

    results = open_results(sweep, storage)
    with err.status("counting hours") as shown:
        announce = (lambda what: shown.update(f"trying {what}")) if measure else None
        resources = load_sweep(sweep).resources if results.missing else Resources()
        hours = forecast(results, saved(), resources, announce)
    found = planned(results, hours)
    if as_json:
        print_json(found)
    else:
        print_plan(found, results, out)
        if keys:
            for line in list_trials(results):
                click.echo(line)


@click.command()
@SWEEP
@STORAGE
@JSON
def status(sweep: Path, storage: str | None, as_json: bool) -> None:
    """Say how far a sweep is, and why trials failed."""
    from mica.cli.status import print_status, status_of
    from mica.sweep.results import open_results

    results = open_results(sweep, storage)
    if as_json:
        print_json(status_of(results))
    else:
        print_status(results, out)


@click.command()
@SWEEP
@STORAGE
def release(sweep: Path, storage: str | None) -> None:
    """Give up what drivers have claimed, at once, where all of them are known to be dead.

    Not needed as a rule: what a dead driver has claimed is free again after `times.claim` seconds, on its own
    machine at once. What a living driver runs would be run twice; no record is lost or doubled by that.
    """
    from mica.sweep.results import open_records
    from mica.sweep.store.claims import release as release_all

    place = open_records(sweep, storage).store.place
    click.echo(f"{place.shown}: {release_all(place)} claims given up")


@click.command()
@SWEEP
@STORAGE
def collect(sweep: Path, storage: str | None) -> None:
    """Write the tables trials, layers and epochs of all records as Parquet files beside them."""
    from mica.sweep.results import open_records
    from mica.sweep.store.tables import write_tables

    results = open_records(sweep, storage)
    print_note(results.note)
    for name in write_tables(results.store, results.trials):
        click.echo(f"{results.store.place.shown}/{name}")


@click.command()
@SWEEP
@STORAGE
@click.option("--published", metavar="CSV", help="Published points to draw beside ours ($MICA_PUBLISHED).")
@_FORM
@_STATISTIC
@click.option(
    "--width",
    type=click.Choice(["page", "column"]),
    default="page",
    show_default=True,
    help="Of the figures: a paper's page, or one of its two columns.",
)
@click.option("--html", is_flag=True, help="Write one HTML page instead, to look at everything and to send.")
@click.option("--against", metavar="METHOD", help="Compare each method with this one, paired by seed.")
def report(
    sweep: Path,
    storage: str | None,
    published: str | None,
    form: Any,
    statistic: Any,
    width: Any,
    html: bool,
    against: str | None,
) -> None:
    """Print the results and draw the figures.

    With --against: is a method better than that one, by how much, and how sure; mean differences with 95 %
    intervals, ratio by ratio.
    """
    from mica.report.report import print_against, print_table, write_page, write_report
    from mica.sweep.results import open_records

    results = open_records(sweep, storage)
    print_note(results.note)
    if html:
        click.echo(write_page(results, statistic))
    elif against:
        print_against(results, out, against, form, statistic)
    elif form == "text":
        write_report(results, out, published=published, statistic=statistic, width=width)
    else:
        print_table(results, form, published=published, statistic=statistic)


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@_STATISTIC
@_FORM
@JSON
@click.pass_context
def compare(ctx: click.Context, first: Path, second: Path, statistic: Any, form: Any, as_json: bool) -> None:
    """Compare two sweeps' results, cell by cell: sweep files or results folders.

    Of each method at each ratio it says whether both are equal in every number, differ within the seeds'
    noise, differ beyond it, or whether only one has it. Exit code 0: all are equal or within noise; else 1.
    """
    from mica.report.report import print_comparison
    from mica.sweep.results import open_records

    one, other = open_records(first), open_records(second)
    for results in (one, other):
        print_note(results.note)
    if not print_comparison(one, other, out, "json" if as_json else form, statistic):
        ctx.exit(EXIT_DIFFERENT)
