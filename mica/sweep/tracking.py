"""Tracking: shows records in MLflow, while a sweep runs or afterwards. The store stays the truth."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mica.data.location import shown
from mica.sweep.layout import MLFLOW
from mica.sweep.mlflow_runs import Experiment
from mica.trial.record import Record

log = logging.getLogger(__name__)

_PAUSE = 30.0
"""Seconds without a try after MLflow could not be reached."""
_SLOW = 5.0
"""Seconds after which a failure means that MLflow does not answer, rather than that it refuses a record."""


@dataclass(frozen=True)
class Report:
    """What became of the records that were handed over."""

    logged: int = 0
    present: int = 0
    """There already, as they are in the store."""
    failed: int = 0
    """Neither; `sync` catches up."""
    error: str | None = None
    """The first error."""


def default_uri(store: str | Path) -> str:
    """SQLite beside a store's records; in the current folder where the store is not on this machine."""
    place = str(store)
    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    folder = Path.cwd() if "://" in place else Path(place).expanduser().absolute()
    return f"sqlite:///{folder / MLFLOW}"


def sync(uri: str, sweep: str, items: Iterable[tuple[str, Record]]) -> Report:
    """Log those of the records (by trial key) that MLflow does not show yet; never raises for MLflow.

    Safe to repeat, and to run beside a sweep: a trial that two processes have logged keeps one child.
    """
    projection = _Projection(uri, sweep, pause=math.inf)
    for key, record in items:
        projection.log(key, partial(_itself, record))
    return projection.finish()


def _itself(record: Record) -> Record:
    return record


class Tracker:
    """Logs a running sweep's records in the background; whatever MLflow does, the sweep goes on."""

    def __init__(
        self,
        uri: str,
        sweep: str,
        read: Callable[[str], Record],
        *,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        """`read` gives the record of a key; `warn` is called once, when MLflow first fails: both from the
        background. What waits to be logged is keys alone, so a slow MLflow takes no memory."""
        self._projection = _Projection(uri, sweep, pause=_PAUSE, warn=warn)
        self._read = read
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()
        self._handed_over = 0
        # A daemon: a server that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="mica-mlflow", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def log(self, key: str) -> None:
        """Hand a trial over that has its record; returns at once."""
        self._handed_over += 1
        self._queue.put(key)

    def close(self, timeout: float = 60.0) -> Report:
        """Wait for what was handed over, at most so many seconds for each; the rest counts as failed."""
        self._queue.put(None)
        seen = -1
        while self._thread.is_alive() and self._projection.seen > seen:
            seen = self._projection.seen
            self._thread.join(timeout)
        late = self._thread.is_alive()
        self._abandoned.set()
        found = self._projection.report()
        missed = self._handed_over - found.logged - found.present
        error = found.error or (f"no answer within {timeout:g} s" if late or missed else None)
        return Report(found.logged, found.present, missed, error)

    def _work(self) -> None:
        self._projection.connect()
        while not self._abandoned.is_set() and (key := self._queue.get()) is not None:
            self._projection.log(key, partial(self._read, key))
        if not self._abandoned.is_set():
            self._projection.finish()


class _Projection:
    """Shows records one after the other; keeps count, and turns MLflow's errors into pauses."""

    def __init__(
        self, uri: str, sweep: str, *, pause: float, warn: Callable[[str], None] | None = None
    ) -> None:
        self._uri, self._sweep, self._pause, self._warn = uri, sweep, pause, warn
        self._experiment: Experiment | None = None
        self._resume = -math.inf
        self._logged = self._present = self._failed = 0
        self._error: str | None = None

    def connect(self) -> bool:
        """Whether there is a connection, trying to make one unless in a pause."""
        if time.monotonic() < self._resume:
            return False
        if self._experiment is None:
            try:
                self._experiment = Experiment(self._uri, self._sweep)
            except Exception as error:
                self._fail(error, unreachable=True)
        return self._experiment is not None

    def log(self, key: str, read: Callable[[], Record]) -> None:
        """Show a trial's record, or count it as failed; it is read only when it can be shown."""
        if not self.connect() or self._experiment is None:
            self._failed += 1
            return
        begin = time.monotonic()
        try:
            new = self._experiment.show(key, read())
        except Exception as error:
            self._failed += 1
            self._fail(error, unreachable=time.monotonic() - begin > _SLOW)
        else:
            self._logged, self._present = self._logged + new, self._present + (not new)

    def finish(self) -> Report:
        """End the parent run."""
        if self._experiment is not None and time.monotonic() >= self._resume:
            try:
                self._experiment.finish()
            except Exception as error:
                self._fail(error, unreachable=False)
        return self.report()

    @property
    def seen(self) -> int:
        """Records that were shown, or not."""
        return self._logged + self._present + self._failed

    def report(self) -> Report:
        """The counts so far."""
        return Report(self._logged, self._present, self._failed, self._error)

    def _fail(self, error: Exception, *, unreachable: bool) -> None:
        if unreachable:
            self._resume = time.monotonic() + self._pause
        if self._error is None:
            uri = self._uri.rstrip("/")
            words = f"{type(error).__name__}: {error}".partition("\n")[0].replace(uri, shown(uri))
            self._error = words if len(words) <= 200 else words[:199] + "…"
            if self._warn is not None:
                self._warn(f"MLflow at {shown(self._uri)} fails, the sweep goes on: {self._error}")
