"""How trials ended: what a driver needs to know of a store, in little memory however large it is."""

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mica.sweep.store.records import Store
from mica.sweep.store.segments import Lost, segments
from mica.sweep.store.stored import Newer, Stored
from mica.trial.record import Outcome
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

Code = tuple[tuple[str, str], ...]
"""The user's own names → digests of the modules that they stand in."""

_PHASES = ("seconds_data", "seconds_mask", "seconds_train")
_COLUMNS = ["name", "trial_key", "outcome", "code", "started", *_PHASES]


def code_of(spec: TrialSpec) -> Code:
    """Those that take part in a trial."""
    return tuple(sorted(spec.code.items()))


class Entry(NamedTuple):
    """One trial that has a record, or whose last attempt failed."""

    name: str
    """The record's; of a failed trial the one that it would have had."""
    outcome: Outcome
    code: Code
    started: str
    seconds: float
    """That it took."""
    reason: str | None = None
    """Why it failed: the last line of its traceback."""


class Index:
    """Reads of the store what is new, and is told of what comes."""

    def __init__(self, store: Store, trials: Mapping[str, TrialSpec], *, others: bool = False) -> None:
        """Of these trials, by key; `others`: of all others that the store holds too."""
        self._store, self._trials, self._others = store, trials, others
        self.names: set[str] = set()
        """Of all records that the store held at the last look, and of those told of since."""
        self._codes: dict[Code, Code] = {}
        self.entries: dict[str, Entry] = {}
        """Key → how the trial ended."""
        self._failures: dict[str, int] = {}
        """Key → the last attempt that was read of those that failed."""
        self.loose = 0
        """Records of the store that were in no segment when they were read."""
        self._begun = False
        self.update()

    def update(self) -> list[str]:
        """Read what was added since the last time; returns the keys whose entries changed."""
        before = dict(self.entries)
        names = self._store.names()
        new = {name: key for name, key in names.items() if name not in self.names}
        self.names |= new.keys()
        if not self._begun:
            self._begun = True
            new = self._fold_in(new)
            self.loose = len(new)
        for name, key in new.items():
            if self._wanted(key):
                self._read(name, key)
        self._update_failures(set(names.values()))
        return [key for key, entry in self.entries.items() if before.get(key) != entry]

    def admit(self, trials: Mapping[str, TrialSpec]) -> None:
        """Those of these trials too, by key, from now on; reads what the store holds of them."""
        self._trials = {**self._trials, **trials}
        names = {name: key for name, key in self._store.names().items() if key in trials}
        self.names |= names.keys()
        for name, key in self._fold_in(names).items():
            self._read(name, key)
        self._update_failures(set(names.values()))

    def note(self, stored: Stored) -> None:
        """A trial has this record now, or this failure."""
        record = stored.record
        where = record.provenance
        seconds = sum(getattr(where, phase) for phase in _PHASES)
        reason = record.reason and sys.intern(record.reason)  # thousands of trials may share it
        self.names.add(stored.name) if record.outcome != "failed" else None
        self._enter(
            stored.key,
            Entry(stored.name, record.outcome, code_of(record.spec), where.started, seconds, reason),
        )

    def failed_anew(self, key: str) -> bool:
        """Whether another attempt at a trial has failed since the last update; reads one listing."""
        with suppress(OSError):
            return self._store.failed(key) > self._failures.get(key, 0)
        return False

    def stored(self, key: str) -> Stored | None:
        """The record that an entry stands for, or the failure; None: it is gone, or a newer mica's."""
        entry = self.entries[key]
        if entry.outcome == "failed":
            return self._store.last_failure(key)
        with suppress(Newer):
            return self._store.read(entry.name)
        return None

    def count(self, outcome: Outcome) -> int:
        """How many trials ended so."""
        return sum(entry.outcome == outcome for entry in self.entries.values())

    def _read(self, name: str, key: str) -> None:
        try:
            stored = self._store.read(name)
        except Newer as error:  # done, though nobody here can say how
            log.warning("%s %s: update mica", name, error)
            self._enter(key, Entry(name, error.outcome, (), "", 0.0))
            return
        if stored is not None:
            self.note(stored)
        else:  # set aside; it may be made anew
            self.names.discard(name)

    def _wanted(self, key: str) -> bool:
        return self._others or key in self._trials

    def _enter(self, key: str, entry: Entry) -> None:
        """A trial ended so.

        Of several records of a trial, made with other code each, the one of the code that there is now
        counts, else the newest; a failure never stands in a record's way.
        """
        before = self.entries.get(key)
        if before is not None and before.outcome != "failed":
            now = code_of(self._trials[key]) if key in self._trials else None
            rank = (entry.outcome != "failed", entry.code == now, entry.started)
            if rank < (True, before.code == now, before.started):
                return
        code = self._codes.setdefault(entry.code, entry.code)
        self.entries[key] = entry._replace(code=code)

    def _fold_in(self, names: dict[str, str]) -> dict[str, str]:
        """Enter what segments hold of these records; returns the rest."""
        rest = dict(names)
        wanted = pa.array(self._trials, pa.string())
        for segment in segments(self._store.place):
            try:
                table = segment.read(_COLUMNS)
            except Lost:
                continue
            if not self._others:
                table = table.filter(pc.is_in(table["trial_key"], wanted))
            for row in table.to_pylist():
                if rest.get(row["name"]) is not None:
                    self._enter(row["trial_key"], _entry_of(row))
            for name in rest.keys() & segment.names.to_pylist():
                del rest[name]
        return rest

    def _update_failures(self, done: set[str]) -> None:
        for key, number in self._store.failures().items():
            if not self._wanted(key) or number == self._failures.get(key):
                continue
            if key in done:
                self._failures[key] = number
            elif (stored := self._store.failure(key, number)) is not None:
                self._failures[key] = number
                self.note(stored)


def _entry_of(row: Mapping[str, object]) -> Entry:
    """Of a row of a segment."""
    code = tuple((item["function"], item["digest"]) for item in row["code"] or ())  # type: ignore[attr-defined]
    seconds = sum(row[phase] or 0.0 for phase in _PHASES)  # type: ignore[misc]
    return Entry(row["name"], row["outcome"], code, row["started"], seconds)  # type: ignore[arg-type]
