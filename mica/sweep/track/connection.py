"""The way to a sweep's experiment: found when MLflow answers, not sought for a while after it did not.

A database of our own that is spoilt is set aside on the way, and made anew.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from mica.sweep.track import database
from mica.sweep.track.credentials import scrubbed
from mica.sweep.track.runs import Experiment

_SLOW = 5.0
"""Seconds after which a failure means that MLflow does not answer, rather than that it refuses a record."""

log = logging.getLogger(__name__)


class Connection:
    """Keeps the experiment while it answers, and the first error."""

    def __init__(
        self, uri: str, sweep: str, *, pause: float, say: Callable[[str], None] = log.warning
    ) -> None:
        """`pause`: seconds without a try after MLflow could not be reached; `say` is told of mending."""
        self._uri, self._sweep, self._pause, self._say = uri, sweep, pause, say
        self._respelled = 0
        self._inode: int | None = None
        self._experiment: Experiment | None = None
        self._resume = -math.inf
        self.error: str | None = None

    @property
    def _file(self) -> Path | None:
        """A database of our own; the first record makes it known as that."""
        return database.own_file(self._uri)

    @property
    def paused(self) -> bool:
        """Whether it is too early for another try."""
        return time.monotonic() < self._resume

    def resume(self) -> None:
        """Try again at once."""
        self._resume = -math.inf

    def experiment(self) -> Experiment | None:
        """The experiment, connecting if need be; None in a pause, and where that fails."""
        if self.paused:
            return None
        if self._experiment is not None and self._identity() != self._inode:
            self._lose()  # somebody has moved the file, or deleted it
        if self._experiment is None:
            try:
                self._experiment = self._connected()
            except Exception as error:
                self._note(error)
                self._resume = time.monotonic() + self._pause
            else:
                self._inode = self._identity()
        return self._experiment

    def failed(self, error: Exception, seconds: float) -> bool:
        """Note what a call raised, after so long; True: MLflow answers, so the record may be at fault."""
        self._note(error)
        if self._mend(error):
            return False
        if seconds <= _SLOW and self._experiment is not None and self._experiment.answers():
            return True
        self._resume = time.monotonic() + self._pause
        return False

    def _connected(self) -> Experiment:
        path = self._file
        if path is None:
            return Experiment(self._spelled(), self._sweep)
        with database.lock(path):  # of several processes one makes the tables
            if database.has_header(path):
                try:
                    return Experiment(self._spelled(), self._sweep)
                except Exception as error:
                    if database.why_spoilt(path, str(error)) is None:
                        raise
            return self._mended(path)

    def _mended(self, path: Path) -> Experiment:
        """For who holds the lock; another process may have mended it while this one waited."""
        error = ""
        if database.has_header(path):
            try:
                return Experiment(self._respell(), self._sweep)
            except Exception as found:
                error = str(found)
        self._set_aside(path, error)
        return Experiment(self._respell(), self._sweep)

    def _mend(self, error: Exception) -> bool:
        """Whether the database turned out to be damaged, and is out of the way now."""
        path = self._file
        if path is None or database.why_spoilt(path, str(error)) not in ("damaged", "no database"):
            return False
        try:
            with database.lock(path):
                self._set_aside(path, str(error))  # if another process has not done it by now
        except OSError:
            return False
        self._lose()
        return True

    def _identity(self) -> int | None:
        path = database.file_of(self._uri)
        return None if path is None else database.identity(path)

    def _set_aside(self, path: Path, error: str) -> None:
        if (why := database.why_spoilt(path, error)) is not None:
            target = database.set_aside(path)
            self._say(f"MLflow's database {path} was {why}: set aside as {target.name} and made anew")

    def _lose(self) -> None:
        self._experiment = None
        self._respelled += 1

    def _respell(self) -> str:
        self._respelled += 1
        return self._spelled()

    def _spelled(self) -> str:
        return database.respelled(self._uri, self._respelled) if self._respelled else self._uri

    def _note(self, error: Exception) -> None:
        if self.error is None:
            words = scrubbed(f"{type(error).__name__}: {error}", self._uri).partition("\n")[0]
            self.error = words if len(words) <= 200 else words[:199] + "…"
