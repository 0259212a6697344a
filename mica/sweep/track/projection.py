"""Tracking: shows records in MLflow. The store stays the truth."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mica.sweep.store.layout import MLFLOW
from mica.sweep.track.connection import Connection
from mica.trial.record import Record

_FEW = 20
"""Trials that were missed and are shown before the next one is."""
_ROUNDS = 3
"""To show what was missed, in the end: a busy database refuses what it takes a moment later."""


@dataclass(frozen=True)
class Tally:
    """What became of the trials that were handed over."""

    logged: int = 0
    present: int = 0
    """There already, as they are in the store."""
    failed: int = 0
    """Neither; `sync` catches up."""
    error: str | None = None
    """The first error."""

    @property
    def seen(self) -> int:
        """Trials that were shown, or not."""
        return self.shown + self.failed

    @property
    def shown(self) -> int:
        """Trials that are there now."""
        return self.logged + self.present


def default_uri(store: str | Path) -> str:
    """SQLite beside a store's records; in the current folder where the store is not on this machine."""
    place = str(store)
    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    folder = Path.cwd() if "://" in place else Path(place).expanduser().absolute()
    return f"sqlite:///{folder / MLFLOW}"


def sync(uri: str, sweep: str, items: Iterable[tuple[str, Record]], *, complete: bool) -> Tally:
    """Log those of the records (by trial key) that MLflow does not show yet; never raises for MLflow.

    Safe to repeat, and to run beside a sweep: a trial that two processes have logged keeps one child.

    Args:
        complete: these are all trials of the sweep, so that it may be shown as finished.
    """
    projection = Projection(uri, sweep, pause=math.inf)
    for key, record in items:
        projection.log(key, partial(_itself, record))
    return projection.finish(complete)


def _itself(record: Record) -> Record:
    return record


class Projection:
    """Shows trials one after the other, keeps count, and comes back to those that MLflow missed."""

    def __init__(
        self, uri: str, sweep: str, *, pause: float, progress: Callable[[Tally], None] = lambda tally: None
    ) -> None:
        """`pause`: seconds without a try when MLflow was not reached; `progress` hears of each trial."""
        self._connection, self._pause, self._progress = Connection(uri, sweep, pause=pause), pause, progress
        self._told: dict[str, tuple[Callable[[], Record], str | None]] = {}
        self._logged: set[str] = set()
        self._present: set[str] = set()
        self._missed: dict[str, None] = {}
        self._refused: set[str] = set()
        """Of those that were missed: MLflow answered, so that they need not be tried again soon."""

    def connect(self) -> bool:
        """Whether there is a connection, trying to make one unless in a pause."""
        return self._connection.experiment() is not None

    def log(self, key: str, read: Callable[[], Record], outcome: str | None = None) -> None:
        """Show a trial's record, or count it as missed; it is read only when it can be shown.

        Args:
            outcome: of a record that is not new: a run that shows this outcome is taken to show all of it.
        """
        self._told[key] = read, outcome
        self._miss(key)
        if self._show(key):
            waiting = [other for other in self._missed if other not in self._refused]
            self._show_all(waiting[:_FEW])

    def finish(self, complete: bool) -> Tally:
        """Show what was missed, look at what is there, and end the parent run.

        `FINISHED` says that every trial of the sweep is there: all that were handed over are, and
        `complete` says that these are all.
        """
        if self._pause < math.inf:
            self._connection.resume()
        for _ in range(_ROUNDS):
            self._show_all(list(self._missed))
            if self._reviewed() and self._refused.issuperset(self._missed):
                break
        self._close(complete)
        return self.tally()

    def tally(self) -> Tally:
        """The counts so far."""
        return Tally(len(self._logged), len(self._present), len(self._missed), self._connection.error)

    def _show_all(self, keys: Iterable[str]) -> None:
        """As many as there are until MLflow does not answer."""
        for key in keys:
            if self._connection.paused:
                return
            self._show(key)

    def _show(self, key: str) -> bool:
        experiment = self._connection.experiment()
        if experiment is None:
            return False
        read, outcome = self._told[key]
        begin = time.monotonic()
        try:
            new = not (outcome and experiment.shows(key, outcome)) and experiment.show(key, read())
        except Exception as error:
            if self._connection.failed(error, time.monotonic() - begin):
                self._refused.add(key)
            return False
        del self._missed[key]
        self._refused.discard(key)
        (self._logged if new else self._present).add(key)
        self._progress(self.tally())
        return True

    def _reviewed(self) -> bool:
        """Whether MLflow, asked again, shows all that it was told, and each trial once."""
        experiment = self._connection.experiment()
        if experiment is None:
            return False
        begin = time.monotonic()
        try:
            experiment.unite()
        except Exception as error:
            self._connection.failed(error, time.monotonic() - begin)
            return False
        gone = [key for key in self._told if not experiment.shows(key)]
        for key in gone:
            self._miss(key)
        return not gone

    def _close(self, complete: bool) -> None:
        experiment = self._connection.experiment()
        if experiment is None:
            return
        begin = time.monotonic()
        try:
            experiment.finish("FINISHED" if complete and not self._missed else "KILLED", self._told.keys())
        except Exception as error:
            self._connection.failed(error, time.monotonic() - begin)

    def _miss(self, key: str) -> None:
        self._logged.discard(key)
        self._present.discard(key)
        self._refused.discard(key)
        self._missed[key] = None
