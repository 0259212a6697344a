"""How the trials of a sweep ended: what a driver needs to know of a store, in little memory however large."""

import sys
from collections.abc import Collection
from typing import NamedTuple

from mica.sweep.store.layout import RECORDS
from mica.sweep.store.records import Store
from mica.trial.record import Outcome, Record
from mica.trial.spec import TrialSpec

Code = tuple[tuple[str, str], ...]
"""The user's own names → digests of the modules that they stand in."""


def code_of(spec: TrialSpec) -> Code:
    """Those that take part in a trial."""
    return tuple(sorted(spec.code.items()))


class Entry(NamedTuple):
    """One trial that has a record."""

    outcome: Outcome
    code: Code
    reason: str | None
    """Why it failed: the last line of its traceback."""


class Index:
    """Reads the store once, and is told of what comes."""

    def __init__(self, store: Store, keys: Collection[str]) -> None:
        """Of the trials with these keys."""
        self._store, self._keys = store, keys
        self._seen: set[str] = set()
        self._codes: dict[Code, Code] = {}
        self.entries: dict[str, Entry] = {}
        """Key → how the trial ended; of those that have a record."""
        self.loose: set[str] = set()
        """Those whose records had not been folded when they were read."""
        self.update()

    def update(self) -> None:
        """Read what was added since the last time."""
        for path in self._store.paths():
            if path in self._seen:
                continue
            self._seen.add(path)
            for stored in self._store.read(path):
                if stored.key in self._keys:
                    self.note(stored.key, stored.record)
                    if path.startswith(RECORDS):
                        self.loose.add(stored.key)

    def note(self, key: str, record: Record) -> None:
        """A trial has this record now."""
        # Thousands of trials share the user's code, or a traceback's last line.
        code, reason = code_of(record.spec), record.reason
        code = self._codes.setdefault(code, code)
        self.entries[key] = Entry(record.outcome, code, reason and sys.intern(reason))

    def count(self, outcome: Outcome) -> int:
        """How many trials ended so."""
        return sum(entry.outcome == outcome for entry in self.entries.values())
