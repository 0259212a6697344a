"""Tracking: shows records in MLflow. The store stays the truth."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mica.data.location import shown
from mica.sweep.store.layout import MLFLOW
from mica.sweep.track.runs import Experiment
from mica.trial.record import Record

_SLOW = 5.0
"""Seconds after which a failure means that MLflow does not answer, rather than that it refuses a record."""


@dataclass(frozen=True)
class Tally:
    """What became of the records that were handed over."""

    logged: int = 0
    present: int = 0
    """There already, as they are in the store."""
    failed: int = 0
    """Neither; `sync` catches up."""
    error: str | None = None
    """The first error."""

    @property
    def seen(self) -> int:
        """Records that were shown, or not."""
        return self.logged + self.present + self.failed


def default_uri(store: str | Path) -> str:
    """SQLite beside a store's records; in the current folder where the store is not on this machine."""
    place = str(store)
    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    folder = Path.cwd() if "://" in place else Path(place).expanduser().absolute()
    return f"sqlite:///{folder / MLFLOW}"


def sync(uri: str, sweep: str, items: Iterable[tuple[str, Record]]) -> Tally:
    """Log those of the records (by trial key) that MLflow does not show yet; never raises for MLflow.

    Safe to repeat, and to run beside a sweep: a trial that two processes have logged keeps one child.
    """
    projection = Projection(uri, sweep, pause=math.inf)
    for key, record in items:
        projection.log(key, partial(_itself, record))
    return projection.finish()


def _itself(record: Record) -> Record:
    return record


class Projection:
    """Shows records one after the other; keeps count, and turns MLflow's errors into pauses."""

    def __init__(self, uri: str, sweep: str, *, pause: float) -> None:
        """`pause`: seconds without a try after MLflow could not be reached."""
        self._uri, self._sweep, self._pause = uri, sweep, pause
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

    def finish(self) -> Tally:
        """End the parent run."""
        if self._experiment is not None and time.monotonic() >= self._resume:
            try:
                self._experiment.finish()
            except Exception as error:
                self._fail(error, unreachable=False)
        return self.tally()

    def tally(self) -> Tally:
        """The counts so far."""
        return Tally(self._logged, self._present, self._failed, self._error)

    def _fail(self, error: Exception, *, unreachable: bool) -> None:
        if unreachable:
            self._resume = time.monotonic() + self._pause
        if self._error is None:
            uri = self._uri.rstrip("/")
            words = f"{type(error).__name__}: {error}".partition("\n")[0].replace(uri, shown(uri))
            words = shown(words)
            self._error = words if len(words) <= 200 else words[:199] + "…"
