"""Run a sweep: read the store, subtract, run what is missing."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mica.data.location import shown
from mica.errors import UserError
from mica.sweep.drive.executor import Executor, Job
from mica.sweep.drive.progress import Running
from mica.sweep.drive.signals import Interruption
from mica.sweep.drive.source import GridSource
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.user_code import modules_of
from mica.sweep.plan.cost import longest_first
from mica.sweep.plan.grid import Grid, expand
from mica.sweep.plan.spec import SweepSpec, load_sweep
from mica.sweep.store.index import Index, code_of
from mica.sweep.store.lease import Lease
from mica.sweep.store.records import Store
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

_HURRY_SECONDS = 3.0
"""What MLflow gets to hear of the last trials, where the sweep ends early."""


@dataclass(frozen=True)
class Retry:
    """Which trials run again although they have a record."""

    failed: bool = False
    """Those that ended with an exception."""
    changed: bool = False
    """Those that ran with other code of the user's own than there is now."""


@dataclass(frozen=True)
class Sweep:
    """A sweep's file, its trials, and the store of their records."""

    spec: SweepSpec
    grid: Grid
    store: Store

    @cached_property
    def index(self) -> Index:
        """How those of its trials ended that have a record; the store is read on first use."""
        return Index(self.store, self.grid.trials.keys())

    def missing(self, retry: Retry = Retry()) -> dict[str, TrialSpec]:
        """Trials to run: those without a record, and those that are to run again."""
        return {key: trial for key, trial in self.grid.trials.items() if self._runs(key, trial, retry)}

    @property
    def changed(self) -> int:
        """How many results were made by other code of the user's own than there is now."""
        found = ((self.index.entries.get(key), trial) for key, trial in self.grid.trials.items())
        return sum(
            entry is not None and entry.outcome != "failed" and entry.code != code_of(trial)
            for entry, trial in found
        )

    def _runs(self, key: str, trial: TrialSpec, retry: Retry) -> bool:
        entry = self.index.entries.get(key)
        if entry is None or (retry.failed and entry.outcome == "failed"):
            return True
        return retry.changed and entry.code != code_of(trial)

    @property
    def mlflow_uri(self) -> str | None:
        """Where MLflow's runs go; None when it is off."""
        if self.spec.mlflow is False:
            return None
        from mica.sweep.track.projection import default_uri

        return default_uri(self.store.folder.place) if self.spec.mlflow is True else str(self.spec.mlflow)


class Listener(Protocol):
    """Who is told what a run does: a terminal, a log."""

    def busy(self, what: str) -> AbstractContextManager[object]:
        """Something that takes a moment."""

    def running(self, trials: int) -> AbstractContextManager[object]:
        """So many trials run."""

    def finished(self, record: Record) -> None:
        """One of them has its record; called from any thread, one call at a time."""

    def progress(self, running: list[Running]) -> None:
        """These run now; called about once a second, from any thread."""

    def warn(self, text: str) -> None:
        """Something went wrong that costs no record."""


def open_sweep(path: Path, storage: str | None = None) -> Sweep:
    """Read a sweep file; writes nothing. Raises `UserError`.

    Modules of the user's own are looked for beside it too.
    """
    if (folder := str(path.absolute().parent)) not in sys.path:
        sys.path.insert(1, folder)  # what lies in the current folder comes first
    spec = load_sweep(path)
    if storage:
        spec = spec.model_copy(update={"storage": storage})
    try:
        grid = expand(spec)
    except UserError as error:
        raise type(error)("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    return Sweep(spec, grid, Store(spec.store))


def run_sweep(
    sweep: Sweep,
    listener: Listener,
    *,
    here: bool = False,
    address: str | None = None,
    retry: Retry = Retry(),
    interruption: Interruption | None = None,
) -> int:
    """Run the missing trials; returns how many of them have no new record, which are those not come to.

    Nothing is written before the resources, the data, every network and the storage have been checked.

    Args:
        here: in this process, one after the other, without Ray.
        address: of a Ray cluster.
        interruption: whoever wishes that it end; by default KeyboardInterrupt alone tells of it.

    Raises:
        UserError: one of those checks fails, or another driver holds the store.
        SweepIncomplete: records cannot be written, Ray dies, or another driver takes the store over.
        SweepStopped: the first trials all fail alike.
    """
    left = sweep.missing(retry)
    if not left:
        return 0
    interruption = interruption or Interruption()
    job = Job(sweep.spec.name, sweep.store, sweep.grid.sources, sweep.spec.resources, sweep.spec.times)
    with suppress(KeyboardInterrupt), _executor(job, left.values(), here, address) as executor:
        with listener.busy("reading the data, tracing the networks"):
            executor.check(left.values())
            sweep.store.folder.check_writable()
        with (
            Lease(sweep.store.folder) as lease,
            _folding(sweep.store, listener),
            _tracker(sweep, listener, interruption) as track,
        ):
            # Another driver may have run some of them while this one waited for Ray and the data.
            sweep.index.update()
            left = sweep.missing(retry)
            if left:
                stopping = Stopping(lambda: lease.held)
                with listener.running(len(left)), interruption.gently(stopping.interrupt):
                    _run(sweep, left, executor, listener, track, stopping)
    return len(left)


def _run(
    sweep: Sweep,
    left: dict[str, TrialSpec],
    executor: Executor,
    listener: Listener,
    track: Callable[[Record], None],
    stopping: Stopping,
) -> None:
    """Run the trials that are left; those that have their record go, and everybody is told of it."""
    source = GridSource(longest_first(left, sweep.grid.sources).values())

    def hear(record: Record) -> None:
        key = record.spec.key
        del left[key]
        sweep.index.note(key, record)
        for tell in (source.tell, stopping.ended, listener.finished, track):
            tell(record)

    executor.run(source, hear, stopping, listener.progress)
    if stopping.error:
        raise stopping.error


@contextmanager
def _executor(job: Job, trials: Iterable[TrialSpec], here: bool, address: str | None) -> Iterator[Executor]:
    if here:
        from mica.sweep.drive.here import Here

        yield Here(job)
        return
    # Ray takes seconds to import: only those who run trials on it wait for it.
    from mica.sweep.drive.ray_cluster import cluster
    from mica.sweep.drive.ray_tune import RayTune

    with cluster(address, modules_of(trials)) as connection:
        yield RayTune(job, connection)


@contextmanager
def _folding(store: Store, listener: Listener) -> Iterator[None]:
    """Folds the records once MLflow has been told of them: it is told of loose ones only."""
    yield
    try:
        store.fold()
    except OSError as error:  # it only speeds reading
        listener.warn(f"the records could not be gathered: {error}; the next run does that")


@contextmanager
def _tracker(
    sweep: Sweep, listener: Listener, interruption: Interruption
) -> Iterator[Callable[[Record], None]]:
    """Sends records to MLflow in the background, or nowhere when it is off."""
    uri = sweep.mlflow_uri
    if uri is None:
        yield lambda record: None
        return
    from mica.sweep.track.process import Tracker

    tracker = Tracker(uri, sweep.spec.name, sweep.store.folder.place)
    tracker.start()
    hurry = True
    try:
        for key in sweep.index.loose:
            tracker.log(key)  # what an earlier run was stopped before it could show
        yield lambda record: tracker.log(record.spec.key)
        hurry = interruption.came
    finally:
        with listener.busy("showing the rest in MLflow"):
            tally = tracker.close(_HURRY_SECONDS, rest=False) if hurry else tracker.close()
        if tally.failed:
            listener.warn(
                f"MLflow at {shown(uri)} missed {tally.failed} trials"
                f"{f' ({tally.error})' if tally.error else ''}; `mica-sweep sync` will catch up"
            )
