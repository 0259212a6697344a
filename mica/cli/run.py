"""`run`: what a sweep still misses, then its results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mica.cli.console import EXIT_INTERRUPTED, EXIT_TRIALS_FAILED, STORAGE, SWEEP, err, out
from mica.wording import counted

if TYPE_CHECKING:
    from mica.sweep.drive.signals import Interruption
    from mica.sweep.results import Results
    from mica.sweep.sweep import Sweep


@click.command()
@SWEEP
@STORAGE
@click.option("--here", is_flag=True, help="In this process, one trial after another, without Ray: to debug.")
@click.option("--address", metavar="ADDRESS", help="Of a Ray cluster; else $RAY_ADDRESS, else this machine.")
@click.option("--retry-failed", is_flag=True, help="Run trials again that ended with an exception.")
@click.option("--retry-changed", is_flag=True, help="Run trials again that ran with other code of your own.")
def run(
    sweep: Path, storage: str | None, here: bool, address: str | None, retry_failed: bool, retry_changed: bool
) -> None:
    """Run what a sweep still misses, then show and draw the results.

    Type it again after any interruption, or after adding to the file: finished trials are kept.
    """
    from mica.sweep.drive.signals import caught

    if here and address:
        raise click.UsageError("--here runs without Ray, so there is no --address to go to")
    with caught() as interruption:
        sys.exit(_run(sweep, storage, here, address, (retry_failed, retry_changed), interruption))


def _run(
    sweep: Path,
    storage: str | None,
    here: bool,
    address: str | None,
    retried: tuple[bool, bool],
    interruption: "Interruption",
) -> int:
    """Returns the exit code."""
    from mica.cli.progress import TerminalProgress
    from mica.sweep.results import results_of
    from mica.sweep.sweep import Retry, open_sweep, run_sweep

    opened, retry = open_sweep(sweep, storage), Retry(*retried)
    named = results_of(opened, sweep, storage).opened
    missing, total = len(opened.missing(retry)) + opened.to_come, opened.total
    failed = 0 if retry.failed else opened.index.count("failed")
    lost = f" ({failed:,} of them failed)" if failed else ""
    counts = f"{counted(total, 'trial')}, {total - missing:,} done{lost}, {missing:,} to run"
    out.print(f"{opened.spec.name}: {counts}", highlight=False)
    for source in opened.grid.sources.values():
        out.print(f"data: {source.description}", highlight=False)
    interruption.last_words = lambda: _interrupted(len(opened.missing(retry)) + opened.to_come)
    left = run_sweep(
        opened, TerminalProgress(out), here=here, address=address, retry=retry, interruption=interruption
    )
    if left and interruption.came:  # whoever stops a sweep has no time for figures
        err.print(_interrupted(left), style="yellow", soft_wrap=True)
        return EXIT_INTERRUPTED
    try:
        _report(opened, results_of(opened, sweep, storage), apart=missing > 0)
    except KeyboardInterrupt:
        err.print(
            f"interrupted: `mica-sweep report {named}` draws the results",
            style="yellow",
            soft_wrap=True,
        )
        return EXIT_INTERRUPTED
    if left:
        err.print(_interrupted(left), style="yellow", soft_wrap=True)
        return EXIT_INTERRUPTED
    if changed := opened.changed:
        trials = counted(changed, "trial")
        out.print(f"{trials} ran with other code of yours than now; --retry-changed runs them again")
    if failed := opened.index.count("failed"):  # those of earlier runs too
        out.print(
            f"{counted(failed, 'trial')} failed; `mica-sweep status {named}` says why, "
            "--retry-failed runs them again",
            style="red",
        )
        return EXIT_TRIALS_FAILED
    return 0


def _report(opened: "Sweep", results: "Results", *, apart: bool) -> None:
    """Draw the results; the trials are done whatever becomes of that, and the process has said why."""
    from mica.report.apart import report_ended
    from mica.report.front import show_in_mlflow

    try:
        report_ended(results, apart=apart)
        if opened.mlflow_uri and opened.projection.level:  # else `sync` brings all of it level
            with out.status("showing methods and figures in MLflow"):
                link, why = show_in_mlflow(results, opened.mlflow_uri)
            if link:
                out.print(f"MLflow   {link}", highlight=False, soft_wrap=True)
            if why:
                err.print(f"MLflow does not show methods and figures: {why}", style="yellow", soft_wrap=True)
    except OSError as error:
        err.print(f"the results could not be drawn: {error}", style="yellow", soft_wrap=True)


def _interrupted(left: int) -> str:
    return f"interrupted: {counted(left, 'trial')} missing; the same line again goes on"
