"""When a sweep must end before its trials do."""

import logging

from mica.trial.record import Record

log = logging.getLogger(__name__)

_SAME_BUG = 3
"""So many trials that fail with the same exception before any other outcome stop the sweep; so do as many in
a row whose records cannot be written."""


class Stopping:
    """Hears how trials end and keeps the first reason to go no further."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._first: list[str | None] = []
        self._unsaved = 0

    @property
    def reason(self) -> str | None:
        """Why the sweep must stop; None while it may go on."""
        return self._reason

    def stop(self, reason: str) -> None:
        """Go no further."""
        self._reason = self._reason or reason

    def ended(self, record: Record) -> None:
        """One bad trial among good ones stops nothing; the first ones all failing alike do."""
        self._unsaved = 0
        if len(self._first) == _SAME_BUG:
            return
        self._first.append(record.reason)
        if len(self._first) == _SAME_BUG and len(set(self._first)) == 1 and record.reason:
            self.stop(f"the first {_SAME_BUG} trials all failed alike: {record.reason}")

    def unsaved(self, key: str, error: str) -> None:
        """A trial is missing still, because its record could not be written."""
        log.warning("trial %s has no record, for it cannot be written: %s", key, error)
        self._unsaved += 1
        if self._unsaved == _SAME_BUG:
            self.stop(f"records cannot be written: {error}; the same line again goes on")
