"""Listener: who is told what a run does."""

from contextlib import AbstractContextManager
from typing import Protocol

from mica.sweep.drive.progress import Running
from mica.trial.record import Record


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
