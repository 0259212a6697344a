"""Run a sweep: read the store, subtract, run what is missing, leave tables behind."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mica.cli.progress import SweepProgress
from mica.errors import UserError
from mica.sweep.drive.worker import failed
from mica.sweep.plan.cost import longest_first
from mica.sweep.plan.grid import Grid, expand
from mica.sweep.plan.spec import SweepSpec, load_sweep
from mica.sweep.store.lease import Lease
from mica.sweep.store.records import Store, Stored, done
from mica.trial.record import Outcome, Record
from mica.trial.spec import TrialSpec

if TYPE_CHECKING:  # Ray takes seconds to import: only those who run trials wait for it
    from mica.sweep.drive.ray_driver import Work
    from mica.sweep.drive.ray_watcher import Ended


@dataclass(frozen=True)
class Sweep:
    """A sweep's file, its trials, and the store of their records."""

    spec: SweepSpec
    grid: Grid
    store: Store

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """How those of this sweep's trials ended that have a record, by key; read once."""
        found = self.store.outcomes()
        return {key: found[key] for key in self.grid.trials if key in found}

    def missing(self, *, retry_failed: bool = False) -> dict[str, TrialSpec]:
        """Trials that have no record yet; failed ones too when they are to be retried."""
        finished = done(self.outcomes, retry_failed=retry_failed)
        return {key: trial for key, trial in self.grid.trials.items() if key not in finished}

    @property
    def mlflow_uri(self) -> str | None:
        """Where MLflow's runs go; None when it is off."""
        if self.spec.mlflow is False:
            return None
        from mica.sweep.track.projection import default_uri

        return default_uri(self.store.folder.place) if self.spec.mlflow is True else str(self.spec.mlflow)


def open_sweep(path: Path, storage: str | None = None) -> Sweep:
    """Read a sweep file; writes nothing. Raises `UserError`."""
    spec = load_sweep(path)
    if storage:
        spec = spec.model_copy(update={"storage": storage})
    try:
        grid = expand(spec)
    except UserError as error:
        raise type(error)("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    return Sweep(spec, grid, Store(spec.store))


def run_sweep(
    sweep: Sweep, console: Console, *, address: str | None = None, retry_failed: bool = False
) -> Counter[str]:
    """Run the missing trials; returns how many ended with which outcome.

    Nothing is written before the resources, the data, every network and the storage have been checked.

    Raises:
        UserError: one of those checks fails, or another driver holds the store.
        SweepStopped: the first trials all fail alike, or another driver takes the store over.
    """
    missing = sweep.missing(retry_failed=retry_failed)
    if not missing:
        return Counter()
    from mica.sweep.drive.ray_cluster import check, cluster
    from mica.sweep.drive.ray_driver import Work, run_all

    with cluster(address) as grows:
        with console.status("reading the data, tracing the networks"):
            data = check(missing, sweep.grid.sources, sweep.spec.resources)
            sweep.store.folder.check_writable()
        with Lease(sweep.store.folder) as lease, _folding(sweep.store), _tracker(sweep, console) as track:
            # Another driver may have run some of them while this one waited for Ray and the data.
            finished = done(sweep.store.outcomes(), retry_failed=retry_failed)
            left = {key: trial for key, trial in missing.items() if key not in finished}
            trials, resources = longest_first(left, sweep.grid.sources), sweep.spec.resources
            work = Work(sweep.spec.name, trials, data, sweep.store, resources, grows)
            progress = SweepProgress(console, len(left))

            def on_end(ended: "Ended") -> None:
                record = _record(ended, work)
                progress.finished(record)
                track(ended.key)

            if left:
                with progress:
                    run_all(work, on_end, lambda: lease.held)
    return progress.outcomes


def _record(ended: "Ended", work: "Work") -> Record:
    """The record that the trial's worker stored; if the worker died first, a failed one in its place."""
    stored = work.store.loose(ended.key)
    error = ended.error or "the worker left no record"
    if stored is not None and (
        stored.record.outcome != "failed" or (stored.record.error or "").strip().endswith(error)
    ):
        return stored.record
    # Which one of the GPUs it was on died with the worker.
    record = failed(work.trials[ended.key], error, "GPU" if work.need["gpu"] else "cpu")
    work.store.put(Stored(ended.key, work.sweep, record))
    return record


@contextmanager
def _folding(store: Store) -> Iterator[None]:
    """Folds the records once MLflow has been told of them: it is told of loose ones only."""
    yield
    store.fold()


@contextmanager
def _tracker(sweep: Sweep, console: Console) -> Iterator[Callable[[str], None]]:
    """Sends the records of keys to MLflow in the background, or nowhere when it is off."""
    uri = sweep.mlflow_uri
    if uri is None:
        yield lambda key: None
        return
    from mica.sweep.track.process import Tracker

    tracker = Tracker(uri, sweep.spec.name, sweep.store.folder.place)
    tracker.start()
    try:
        for key in sweep.store.loose_keys() & set(sweep.outcomes):
            tracker.log(key)  # what an earlier run was stopped before it could show
        yield tracker.log
    finally:
        with console.status("showing the rest in MLflow"):
            report = tracker.close()
        if report.failed:
            console.print(
                f"MLflow at {uri} missed {report.failed} trials ({report.error}); "
                "`mica-sweep sync` will catch up",
                style="yellow",
            )
