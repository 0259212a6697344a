"""The command line: parse, call, print, exit code. No logic."""

import gc
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from mica import __version__
from mica.errors import SweepIncomplete, SweepStopped, UserError
from mica.wording import counted, shown

if TYPE_CHECKING:
    from mica.sweep.drive.signals import Interruption
    from mica.sweep.sweep import Sweep

EXIT_TRIALS_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130

# Names and errors of a user's own may hold [brackets] and :colons:, which are no markup.
out = Console(markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)


class _Group(click.Group):
    """Turns a user's mistake into one message and exit code 2, without a traceback."""

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """The whole process."""
        try:
            return super().__call__(*args, **extra)
        except SystemExit as end:
            _leave(end)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            sys.stderr.close()
            ctx.exit(0)
        except KeyboardInterrupt:
            err.print("interrupted", style="yellow")
            ctx.exit(EXIT_INTERRUPTED)
        except (SweepStopped, UserError, OSError) as error:
            err.print(
                Text.assemble(("error: ", "bold red"), shown(str(error))), highlight=False, soft_wrap=True
            )
            ctx.exit(_code_of(error))


SWEEP = click.argument("sweep", type=click.Path(path_type=Path))
STORAGE = click.option("--storage", metavar="PLACE", help="Folder or URI, in place of the file's own.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mica-sweep")
@click.option("-v", "--verbose", is_flag=True, help="Show what happens inside.")
def main(verbose: bool) -> None:
    """Sweeps of pruning-at-initialisation experiments.

    \b
    A first look:      mica-sweep run sweeps/quickstart.yaml
    What would run:    mica-sweep plan sweeps/paper.yaml
    One mask:          mica-sweep inspect --model vgg16 --method mica-igq --log10-ratio 4.5

    SWEEP is a sweep file. Where a command only reads results, it may also be the folder that holds them.
    """
    sys.path.insert(0, os.getcwd())  # for a user's own `package.module:function`
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )
    if not verbose:
        warnings.filterwarnings("ignore", category=FutureWarning)


@main.command()
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
    from mica.sweep.sweep import Retry, open_sweep, run_sweep

    opened, retry = open_sweep(sweep, storage), Retry(*retried)
    missing, total = len(opened.missing(retry)), len(opened.grid.trials)
    counts = f"{counted(total, 'trial')}, {total - missing:,} done, {missing:,} to run"
    out.print(f"{opened.spec.name}: {counts}", highlight=False)
    for source in opened.grid.sources.values():
        out.print(f"data: {source.description}", highlight=False)
    interruption.last_words = lambda: _interrupted(len(opened.missing(retry)))
    left = run_sweep(
        opened, TerminalProgress(out), here=here, address=address, retry=retry, interruption=interruption
    )
    if left and interruption.came:  # whoever stops a sweep has no time for figures
        err.print(_interrupted(left), style="yellow", soft_wrap=True)
        return EXIT_INTERRUPTED
    try:
        _report(opened, sweep)
    except KeyboardInterrupt:
        err.print(
            f"interrupted: `mica-sweep report {sweep}` draws the results", style="yellow", soft_wrap=True
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
            f"{counted(failed, 'trial')} failed; `mica-sweep status {sweep}` says why, "
            "--retry-failed runs them again",
            style="red",
        )
        return EXIT_TRIALS_FAILED
    return 0


def _report(opened: "Sweep", sweep: Path) -> None:
    """Draw the results; the trials are done whatever becomes of that, and the process has said why."""
    from mica.report.apart import report_apart
    from mica.sweep.results import results_of

    try:
        report_apart(results_of(opened, sweep))
    except OSError as error:
        err.print(f"the results could not be drawn: {error}", style="yellow", soft_wrap=True)


def _interrupted(left: int) -> str:
    return f"interrupted: {counted(left, 'trial')} missing; the same line again goes on"


@main.command()
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
        _print_json(found)
    else:
        print_plan(found, results, out)
        if keys:
            for line in list_trials(results):
                click.echo(line)


@main.command()
@SWEEP
@STORAGE
@JSON
def status(sweep: Path, storage: str | None, as_json: bool) -> None:
    """Say how far a sweep is, and why trials failed."""
    from mica.cli.status import print_status, status_of
    from mica.sweep.results import open_results

    results = open_results(sweep, storage)
    if as_json:
        _print_json(status_of(results))
    else:
        print_status(results, out)


@main.command()
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


@main.command()
@SWEEP
@STORAGE
def collect(sweep: Path, storage: str | None) -> None:
    """Write the tables trials, layers and epochs of all records as Parquet files beside them."""
    from mica.sweep.results import open_records
    from mica.sweep.store.tables import write_tables

    results = open_records(sweep, storage)
    _print_note(results.note)
    for name in write_tables(results.store, results.trials):
        click.echo(f"{results.store.place.shown}/{name}")


@main.command()
@SWEEP
@STORAGE
@click.option("--published", metavar="CSV", help="Published points to draw beside ours ($MICA_PUBLISHED).")
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "latex"]), default="text",
    help="Of the printed table; markdown and latex can be pasted.",
)  # fmt: skip
def report(sweep: Path, storage: str | None, published: str | None, form: str) -> None:
    """Print the results and draw the figures."""
    from mica.report.report import print_table, write_report
    from mica.sweep.results import open_records

    results = open_records(sweep, storage)
    _print_note(results.note)
    if form == "text":
        write_report(results, out, published=published)
    else:
        print_table(results, form)


@main.command()
@click.option("--model", required=True, help="Network: vgg16, resnet20, …, or package.module:function.")
@click.option("--method", required=True, help="dense, rpi-erk, 'mica(node_counts=max)-igq', rbpi-synflow, …")
@click.option("--ratio", metavar="RATIO", help="All edges / kept edges, such as 1000 or 10^4.5.")
@click.option("--log10-ratio", metavar="EXPONENT", help="Or its log10, such as 4.5.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--classes", type=click.IntRange(1, 1_000_000), default=10, show_default=True)
@click.option("--input-shape", default="3x32x32", show_default=True, help="Of one image, CxHxW.")
@click.option("--data", help="Data set for methods that score images; it then sets classes and shape.")
@click.option("--budget", type=click.Choice(["nominal", "corrected"]), default="nominal", show_default=True)
@click.option("--rounding", type=click.Choice(["floor", "exact"]), default="floor", show_default=True)
@click.option("--save", type=click.Path(path_type=Path), help="Write the masks to this .npz file.")
@JSON
def inspect(
    as_json: bool, save: Path | None, ratio: str | None, log10_ratio: str | None, **options: Any
) -> None:
    """Make one mask and show it, layer by layer."""
    from mica.cli.ratio import one_ratio
    from mica.report.mask_table import mask_json, mask_table
    from mica.trial.single_mask import MaskRequest, make_mask

    found = make_mask(MaskRequest(log10_ratio=one_ratio(ratio, log10_ratio, options["method"]), **options))
    if save:
        try:
            found.masks.save(save)
        except OSError as error:
            raise UserError(f"--save {save}: cannot be written: {error.strerror}") from error
    if as_json:
        _print_json(mask_json(found))
    else:
        out.print(mask_table(found.summary, found.layers))
        _print_note(str(found.scarcity) if found.scarcity else None)


@main.command()
@click.argument("key")
@click.option(
    "--from", "place", type=click.Path(path_type=Path), required=True, help="Sweep file or results folder."
)
@STORAGE
@click.option("--device", help="cpu, cuda, cuda:1, …")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the trial's masks and weights.")
def trial(key: str, place: Path, storage: str | None, device: str | None, keep: Path | None) -> None:
    """Run one trial again, in this process, to debug it or to get its masks and weights.

    KEY is a trial's key or its beginning; `mica-sweep plan --keys` lists them. The store is not changed.
    """
    from mica.cli.rerun import print_rerun
    from mica.sweep.results import find_trial

    print_rerun(find_trial(key, place, storage), out, device=device, keep=keep)


@main.command()
@click.option("--model", "models", multiple=True, help="Networks to time.  [default: vgg16, resnet20]")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="How many seeds.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Timed rounds a seed.")
@click.option("--steps/--no-steps", default=True, help="Time training steps.")
@click.option("--masks/--no-masks", default=True, help="Time masks.")
@click.option("--trials", default=200, show_default=True, type=click.IntRange(0), help="No-op trials to run.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: one a core]")
@click.option("--device", help="cpu, cuda, …; a GPU where there is one by default.")
@JSON
def bench(as_json: bool, **options: Any) -> None:
    """Measure what a training step, a mask and a trial cost on this machine.

    Each network trains the usual way (weights × masks at full width) and mica's way, step by step in turn.
    `mica-sweep plan` then knows better how many hours a sweep will take here. With the defaults this takes
    some ten minutes; for a quick look: mica-sweep bench --seeds 1 --rounds 3 --no-masks --trials 0
    """
    from mica.bench.bench import measure, plan_of
    from mica.bench.measurements import save
    from mica.bench.tables import tables

    plan = plan_of(**options)
    with err.status("measuring") as shown:
        found = measure(plan, lambda what: shown.update(f"measuring {what}"))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        out.print(tables(found))
    try:
        save(found)
    except OSError as error:
        err.print(f"`mica-sweep plan` will not know of these measurements: {error}", style="yellow")


@main.command()
@SWEEP
@STORAGE
def sync(sweep: Path, storage: str | None) -> None:
    """Bring MLflow up to date with the records, without duplicates."""
    from mica.sweep.results import results_of
    from mica.sweep.sweep import open_sweep
    from mica.sweep.track.level import mark_level
    from mica.sweep.track.projection import sync as sync_records

    found_sweep = open_sweep(sweep, storage)
    if (uri := found_sweep.mlflow_uri) is None:
        raise UserError(f"{sweep}: mlflow is off in this sweep")
    opened = results_of(found_sweep, sweep)
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
    mark_level(place, uri, name, outcomes, complete=complete)


@main.command()
@SWEEP
@STORAGE
@click.option("--port", type=int, default=5000, show_default=True)
def ui(sweep: Path, storage: str | None, port: int) -> None:
    """Open MLflow's pages on a sweep's runs, for this machine only."""
    from mica.sweep.sweep import open_sweep

    uri = open_sweep(sweep, storage).mlflow_uri
    if uri is None:
        raise UserError(f"{sweep}: mlflow is off in this sweep")
    if uri.startswith("http"):
        click.echo(f"the runs are at {shown(uri)}")
        return
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # it may hold a password, and everybody sees arguments
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # else eight processes more
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execvp(sys.executable, [sys.executable, "-m", "mlflow", "ui", *where])


def _code_of(error: Exception) -> int:
    if isinstance(error, SweepIncomplete):
        return EXIT_INTERRUPTED
    return EXIT_TRIALS_FAILED if isinstance(error, SweepStopped) else EXIT_WRONG_USE


def _leave(end: SystemExit) -> NoReturn:
    """End the process, although a call to a Ray that died may never return."""
    gc.freeze()  # Python would take a second to look for what can be freed, and all of it can
    if "mica.sweep.drive.ray_thread" in sys.modules:
        from mica.sweep.drive.ray_thread import is_stuck

        if is_stuck():
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(end.code if isinstance(end.code, int) else EXIT_TRIALS_FAILED)
    raise end


def _print_note(note: str | None) -> None:
    if note:
        err.print(f"note: {note}", style="yellow", highlight=False, soft_wrap=True)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
