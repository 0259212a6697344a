"""Run a sweep: read the store, subtract, run what is missing."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mica.data.location import filled_in
from mica.errors import UserError
from mica.sweep.course import Course
from mica.sweep.drive.executor import Executor, Job
from mica.sweep.drive.growing import GrowingSource
from mica.sweep.drive.progress import Running
from mica.sweep.drive.signals import Interruption
from mica.sweep.drive.source import GridSource, Source
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.user_code import modules_of
from mica.sweep.listener import Listener
from mica.sweep.plan.cost import longest_first
from mica.sweep.plan.grid import Grid, expand
from mica.sweep.plan.spec import SweepSpec, load_sweep
from mica.sweep.projector import Projector
from mica.sweep.standing import Standing
from mica.sweep.store.claims import Claims
from mica.sweep.store.driver import Driver, Watch
from mica.sweep.store.index import Index, code_of
from mica.sweep.store.records import Store
from mica.sweep.store.segments import FOLD_FROM, drop_stale, fold
from mica.sweep.store.stored import Stored
from mica.sweep.track.projection import default_uri
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

    @cached_property
    def course(self) -> Course | None:
        """How far a search has come; what it has come to is in the grid from now on. None for a grid."""
        return Course(self.spec, self.grid, self.index) if self.spec.search else None

    @property
    def to_come(self) -> int:
        """How many trials nobody knows yet: those of a search's later waves."""
        return self.course.to_come if self.course else 0

    @property
    def total(self) -> int:
        """How many trials there are to be."""
        return len(self.grid.trials) + self.to_come

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
    def mlflow(self) -> str | None:
        """Where MLflow's runs go, its `$VARS` as they are written; None when it is off."""
        if self.spec.mlflow is False:
            return None
        return default_uri(self.store.place.address) if self.spec.mlflow is True else str(self.spec.mlflow)

    @property
    def mlflow_uri(self) -> str | None:
        """The same, its `$VARS` filled in. Raises `DataError` where one is not set."""
        return self.mlflow if self.mlflow is None or self.spec.mlflow is True else filled_in(self.mlflow)

    @property
    def job(self) -> Job:
        """What its trials share."""
        spec = self.spec
        return Job(spec.name, self.store, self.grid.sources, spec.resources, spec.times)

    @property
    def projection(self) -> Projector:
        """What MLflow shows of it."""
        return Projector(self.mlflow_uri, self.spec.name, self.store.place, self.index, lambda: self.total)


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
    sweep = Sweep(spec, grid, Store(spec.store))
    _ = sweep.course  # the records say which trials a search has
    return sweep


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
        UserError: one of those checks fails.
        SweepIncomplete: records cannot be written, or Ray dies.
        SweepStopped: the first trials all fail alike.
    """
    interruption = interruption or Interruption()
    projection = sweep.projection
    left = sweep.missing(retry)
    if not left:
        if sweep.index.loose >= FOLD_FROM:  # an earlier run was stopped before it could do that
            _fold(sweep.store, listener)
        if not projection.level:
            _show_rest(sweep, listener, interruption)
        return 0
    job = sweep.job
    with suppress(KeyboardInterrupt), _executor(job, left.values(), here, address) as executor:
        with listener.busy("reading the data, tracing the networks"):
            executor.check(left.values())
            sweep.store.place.check()
            _tidy(sweep)
        with (
            _driving(sweep) as (driver, claims),
            projection.open(claims, listener, interruption) as show,
            listener.running(len(left) + sweep.to_come),
        ):
            standing = Standing(lambda: len(left) + sweep.to_come)
            driver.show(standing.say)
            told = _Told(listener, show, standing)
            _run(sweep, left, executor, claims, told, interruption)
    _fold(sweep.store, listener)
    return len(left) + sweep.to_come


def _show_rest(sweep: Sweep, listener: Listener, interruption: Interruption) -> None:
    """Show in MLflow what an earlier run could not; no trial hangs on it, so a full disk is no failure."""
    try:
        with _driving(sweep) as (_, claims), sweep.projection.open(claims, listener, interruption):
            pass
    except OSError as error:
        listener.warn(f"MLflow could not be brought level: {error}; `mica-sweep sync` will catch up")


def _fold(store: Store, listener: Listener) -> None:
    """Gather the records; it only speeds reading."""
    try:
        fold(store)
    except OSError as error:
        listener.warn(f"the records could not be gathered: {error}; the next run does that")


@contextmanager
def _driving(sweep: Sweep) -> Iterator[tuple[Driver, Claims]]:
    """Shows that this driver lives; gives up what it has claimed in the end."""
    place, times = sweep.store.place, sweep.spec.times
    with Driver(place, sweep.spec.name, times.claim) as driver:
        claims = Claims(place, driver, Watch(place, times.claim))
        try:
            claims.look()
            yield driver, claims
        finally:
            claims.drop_all()


def _tidy(sweep: Sweep) -> None:
    """Make reading quick again after drivers that were killed, and true after somebody's own hand."""
    drop_stale(sweep.store)
    if sweep.index.loose >= FOLD_FROM:
        fold(sweep.store)


@dataclass(frozen=True)
class _Told:
    """Whoever is told of a run's course."""

    listener: Listener
    show: Callable[[Record], None]
    standing: Standing

    def finished(self, record: Record) -> None:
        self.listener.finished(record)
        self.show(record)

    def progress(self, running: list[Running]) -> None:
        self.standing.progress(running)
        self.listener.progress(running)


def _run(
    sweep: Sweep,
    left: dict[str, TrialSpec],
    executor: Executor,
    claims: Claims,
    told: "_Told",
    interruption: Interruption,
) -> None:
    """Run the trials that are left, with other drivers if there are any.

    Those that have ended go from `left`, and everybody is told of each.
    """
    stopping = Stopping()

    def end(stored: Stored) -> None:
        if left.pop(stored.key, None) is not None:
            sweep.index.note(stored)
            told.finished(stored.record)

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
    grid = GridSource(longest, sweep.index, claims, hear_of_others)
    source: Source = grid
    if course := sweep.course:
        _claim_search(sweep.spec.name, claims)

        def more() -> Mapping[str, TrialSpec]:
            new = {key: spec for key, spec in course.go_on().items() if key not in sweep.index.entries}
            left.update(new)
            return new

        source = GrowingSource(grid, more, lambda: course.over)
    with interruption.gently(stopping.interrupt):
        executor.run(source, hear, stopping, told.progress)
    with suppress(OSError):
        claims.look()
        claims.tidy(sweep.index.entries.keys())
    if stopping.error:
        raise stopping.error


def _claim_search(name: str, claims: Claims) -> None:
    """Raises `UserError` while another driver is at the search: who asks has to hear of every result."""
    if not (claims.free(task := f"search-{name}") and claims.take(task)):
        raise UserError(
            "another driver runs this search, and one alone can: what to try next hangs on all results "
            "before; where it is dead, wait for `times.claim` seconds, or `mica-sweep release`"
        )


@contextmanager
def _executor(job: Job, trials: Iterable[TrialSpec], here: bool, address: str | None) -> Iterator[Executor]:
    if here:
        from mica.sweep.drive.here import Here

        yield Here(job)
        return
    # Ray takes seconds to import: only those who run trials on it wait for it.
    from mica.sweep.doctor.examination import refuse_unfit
    from mica.sweep.drive.ray_cluster import cluster
    from mica.sweep.drive.ray_tune import RayTune

    with cluster(address, modules_of(trials)) as connection:
        refuse_unfit(job, list(trials), connection)
        yield RayTune(job, connection)
