"""Tracking of a running sweep, in a process of its own. Whatever MLflow does, the sweep goes on.

The driver hands keys over; the process reads the records from the store and shows them in MLflow.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from mica.data.location import shown
from mica.sweep.track.database import file_of
from mica.sweep.track.projection import Tally
from mica.sweep.track.talk import Talk

log = logging.getLogger(__name__)

_PATIENCE, _HURRY = 25.0, 3.0
"""Seconds in which nothing went on, once the trials are over: then MLflow hangs, or the process gets too
little of a busy machine's time. The second where somebody wants the driver to end."""
_MORE_PATIENCE, _MORE_FOR_A_FILE = 20.0, 90.0
"""The same for the process that then takes over, giving way to nobody: with a server, and with a SQLite file,
which does not hang, but may first have to be made, by one who holds its lock for a minute at most."""


class Tracker:
    """The driver's end."""

    def __init__(
        self, uri: str, sweep: str, store: str, *, warn: Callable[[str], None] = log.warning
    ) -> None:
        """`store`: the records' place; `warn` is called once, when MLflow first fails, in the background."""
        self._uri, self._sweep, self._store, self._warn = uri, sweep, store, warn
        self._keys: dict[str, str | None] = {}
        self._tally = Tally()
        self._error: str | None = None
        self._talk = self._new_talk(gives_way=True)

    def start(self) -> None:
        """Begin to connect; returns at once, and never fails."""
        self._talk.start()

    def log(self, key: str, outcome: str | None = None) -> None:
        """Hand a trial over that has its record; returns at once.

        Args:
            outcome: of a record that an earlier run left. Where MLflow shows the trial with this outcome
                the record is not read again.
        """
        self._keys[key] = outcome
        self._talk.tell(key, outcome)

    def close(self, complete: bool, *, hurry: bool = False) -> Tally:
        """Wait until all that was handed over is shown, but for no server that hangs.

        After 25 seconds in which nothing more was shown another process does the rest, unless MLflow is known
        to fail; it too is given up after 20 such seconds, or 90 without a server. Ctrl-C ends the wait.

        Args:
            complete: every trial of the sweep was handed over, so that it may be shown as finished.
            hurry: wait for seconds only, because somebody wants the driver to end.
        """
        shown_before = 0
        try:
            self._talk.end(complete)
            seconds = _HURRY if hurry else _PATIENCE
            if not self._talk.wait(seconds) and not hurry and (self._talk.died or self._tally.error is None):
                self._talk.kill()
                shown_before = self._tally.shown
                self._take_over(complete)
        except KeyboardInterrupt:
            self._error = self._error or "interrupted"
        self._talk.kill()
        return self._counted(shown_before)

    def _take_over(self, complete: bool) -> None:
        self._talk = self._new_talk(gives_way=False)
        self._talk.start()
        for key, outcome in self._keys.items():
            self._talk.tell(key, outcome)
        self._talk.end(complete)
        if not self._talk.wait(_MORE_FOR_A_FILE if file_of(self._uri) else _MORE_PATIENCE):
            self._error = self._error or "it does not answer"

    def _counted(self, shown_before: int) -> Tally:
        """What is not known to be shown counts as failed."""
        found = self._tally
        present = found.present + max(0, shown_before - found.shown)
        failed = len(self._keys) - found.logged - present
        error = found.error or self._error or (None if self._talk.over else "it was not brought to its end")
        return replace(found, present=present, failed=failed, error=error)

    def _new_talk(self, *, gives_way: bool) -> Talk:
        return Talk(self._uri, self._sweep, self._store, gives_way=gives_way, hear=self._note)

    def _note(self, tally: Tally) -> None:
        if tally.error and self._error is None:
            self._error = tally.error
            self._warn(f"MLflow at {shown(self._uri)} fails, the sweep goes on: {tally.error}")
        self._tally = tally
