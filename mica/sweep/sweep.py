"""Run a sweep: read the store, subtract, run what is missing."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mica.data.location import shown
from mica.errors import SweepStopped, UserError
from mica.sweep.drive.executor import Executor, Job
from mica.sweep.drive.source import GridSource
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.user_code import modules_of
from mica.sweep.plan.cost import longest_first
from mica.sweep.plan.grid import Grid, expand
from mica.sweep.plan.spec import SweepSpec, load_sweep
from mica.sweep.store.claims import Claims
from mica.sweep.store.driver import Driver, Watch
from mica.sweep.store.index import Index, code_of
from mica.sweep.store.records import Store
from mica.sweep.store.segments import FOLD_FROM, drop_stale, fold
from mica.sweep.store.stored import Stored
from mica.trial.record import Record
from mica.trial.spec import TrialSpec


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
        return Index(self.store, self.grid.trials)

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

        return default_uri(self.store.place.address) if self.spec.mlflow is True else str(self.spec.mlflow)


class Listener(Protocol):
    """Who is told what a run does: a terminal, a log."""

    def busy(self, what: str) -> AbstractContextManager[object]:
        """Something that takes a moment."""

    def running(self, trials: int) -> AbstractContextManager[object]:
        """So many trials run."""

    def finished(self, record: Record) -> None:
        """One of them has its record; called from any thread, one call at a time."""

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
) -> int:
    """Run the missing trials; returns how many of them have no new record, which are those not come to.

    Nothing is written before the resources, the data, every network and the storage have been checked.

    Args:
        here: in this process, one after the other, without Ray.
        address: of a Ray cluster.

    Raises:
        UserError: one of those checks fails.
        SweepStopped: the first trials all fail alike, or records cannot be written.
    """
    missing = sweep.missing(retry)
    if not missing:
        return 0
    place, times = sweep.store.place, sweep.spec.times
    job = Job(sweep.spec.name, sweep.store, sweep.grid.sources, sweep.spec.resources, times)
    with _executor(job, missing.values(), here, address) as executor:
        with listener.busy("reading the data, tracing the networks"):
            executor.check(missing.values())
            place.check()
            _tidy(sweep)
        with Driver(place, sweep.spec.name, times.claim) as driver:
            claims = Claims(place, driver, Watch(place, times.claim))
            try:
                with _tracker(sweep, listener, claims) as track, listener.running(len(missing)):
                    left = _run(sweep, missing, executor, claims, [listener.finished, track])
            finally:
                claims.drop_all()
    fold(sweep.store)
    return left


def _tidy(sweep: Sweep) -> None:
    """Make reading quick again after drivers that were killed, and true after somebody's own hand."""
    drop_stale(sweep.store)
    if sweep.index.loose >= FOLD_FROM:
        fold(sweep.store)


def _run(
    sweep: Sweep,
    missing: Mapping[str, TrialSpec],
    executor: Executor,
    claims: Claims,
    told: Sequence[Callable[[Record], None]],
) -> int:
    """Run the missing trials, with other drivers if there are any; everybody is told of each that ends.

    Returns how many have not ended.
    """
    left, stopping = dict(missing), Stopping()

    def end(stored: Stored) -> None:
        if left.pop(stored.key, None) is not None:
            sweep.index.note(stored)
            for tell in told:
                tell(stored.record)

    def hear(record: Record) -> None:
        stopping.ended(record)
        end(Stored(record.spec.key, sweep.spec.name, record))
        source.tell(record)

    def hear_of_others(keys: Iterable[str]) -> None:
        for key in keys:
            if (stored := sweep.store.latest(key)) is not None:
                end(stored)
            else:  # a newer mica's: done, though nobody here can say how
                left.pop(key, None)

    longest = longest_first(left, sweep.grid.sources)
    source = GridSource(longest, sweep.index, claims, hear_of_others)
    executor.run(source, hear, stopping)
    with suppress(OSError):
        claims.look()
        claims.tidy(sweep.index.entries.keys())
    if stopping.reason:
        raise SweepStopped(stopping.reason)
    return len(left)


@contextmanager
def _executor(job: Job, trials: Iterable[TrialSpec], here: bool, address: str | None) -> Iterator[Executor]:
    if here:
        from mica.sweep.drive.here import Here

        yield Here(job)
        return
    # Ray takes seconds to import: only those who run trials on it wait for it.
    from mica.sweep.drive.ray_cluster import cluster
    from mica.sweep.drive.ray_tune import RayTune

    with cluster(address, modules_of(trials)) as grows:
        yield RayTune(job, grows=grows)


@contextmanager
def _tracker(sweep: Sweep, listener: Listener, claims: Claims) -> Iterator[Callable[[Record], None]]:
    """Sends records to MLflow in the background, or nowhere when it is off."""
    uri = sweep.mlflow_uri
    if uri is None:
        yield lambda record: None
        return
    from mica.sweep.track.process import Tracker

    tracker = Tracker(uri, sweep.spec.name, sweep.store.place.address)
    tracker.start()
    try:
        for key in sweep.index.entries:
            tracker.log(key)  # what an earlier run was stopped before it could show
        yield lambda record: tracker.log(record.spec.key)
    finally:
        with listener.busy("showing the rest in MLflow"):
            tally = tracker.close()
        if tally.failed:
            listener.warn(
                f"MLflow at {shown(uri)} missed {tally.failed} trials ({tally.error}); "
                "`mica-sweep sync` will catch up"
            )
