"""Commands for MLflow: `sync`, `ui`."""

import os
import sys
from pathlib import Path

import click

from mica.cli.console import EXIT_TRIALS_FAILED, STORAGE, SWEEP, err
from mica.errors import UserError
from mica.wording import counted, shown


@click.command()
@SWEEP
@STORAGE
def sync(sweep: Path, storage: str | None) -> None:
    """Bring MLflow up to date with the records, without duplicates."""
    from mica.report.front import show_in_mlflow
    from mica.sweep.results import results_of
    from mica.sweep.sweep import open_sweep
    from mica.sweep.track.level import mark_level, of_trials
    from mica.sweep.track.projection import sync as sync_records

    found_sweep = open_sweep(sweep, storage)
    if (uri := found_sweep.mlflow_uri) is None:
        raise UserError(f"{sweep}: mlflow is off in this sweep")
    opened = results_of(found_sweep, sweep, storage)
    complete, name, place = not opened.missing, opened.name, opened.store.place
    items = ((key, stored.record) for key in opened.entries if (stored := opened.index.stored(key)))
    found = sync_records(uri, name, items, complete=complete)
    click.echo(
        f"{shown(uri)}: {counted(found.logged, 'trial')} added, {found.present} were there, "
        f"{found.failed} failed"
    )
    if found.failed:
        err.print(str(found.error), style="red")
        sys.exit(EXIT_TRIALS_FAILED)
    outcomes = {key: entry.outcome for key, entry in opened.entries.items()}
    mark_level(place, uri, name, of_trials(outcomes, complete=complete))
    if why := show_in_mlflow(opened, uri).error:
        err.print(f"methods and figures are not shown: {why}", style="red")
        sys.exit(EXIT_TRIALS_FAILED)


@click.command()
@SWEEP
@STORAGE
@click.option("--port", type=int, default=5000, show_default=True)
def ui(sweep: Path, storage: str | None, port: int) -> None:
    """Open MLflow's pages on a sweep's runs, for this machine only."""
    from mica.sweep.sweep import open_sweep
    from mica.sweep.track.front import sweep_link

    opened = open_sweep(sweep, storage)
    if (uri := opened.mlflow_uri) is None:
        raise UserError(f"{sweep}: mlflow is off in this sweep")
    server = uri.startswith("http")
    link = sweep_link(uri, opened.spec.name, None if server else f"http://127.0.0.1:{port}")
    if server:
        click.echo(link)
        return
    click.echo(f"{link}  (Ctrl-C ends it)")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # it may hold a password, and everybody sees arguments
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # else eight processes more
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execvp(sys.executable, [sys.executable, "-m", "mlflow", "ui", *where])
