"""Where a sweep's trials come from: whoever runs them asks for the next one, and tells how each ended."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from mica.sweep.store.claims import Claims
from mica.sweep.store.index import Index
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)


Wanted = Callable[[TrialSpec], bool]
"""Which trials somebody asks for."""


def any_trial(spec: TrialSpec) -> bool:
    """All of them."""
    return True


class Source(Protocol):
    """Gives out trials, one after the other, and is told of each that it gave what became of it."""

    def ask(self, wanted: Wanted = any_trial) -> TrialSpec | None:
        """The trial to run next; None when there is none now."""

    def tell(self, record: Record) -> None:
        """A trial has its record; there may be something to ask for now."""

    def lose(self, spec: TrialSpec) -> None:
        """A trial has ended, and its record could not be written: it is to be given again."""

    def over(self, wanted: Wanted = any_trial) -> bool:
        """Whether there is nothing to ask for any more, whatever may be told."""


class GridSource:
    """The missing trials of a grid that several drivers run: each is claimed before it is given out.

    When those that are left are all at other drivers' it gives out none, and waits: for their records, or
    for their claims to end.
    """

    _LOOK_SECONDS, _SHARE = 1.0, 20
    """Between two looks at the store: so much, and so many times what a look takes."""
    _TRY_SECONDS, _PATIENCE_SECONDS = 5.0, 600.0
    """Between two tries to claim in a store that fails, and for so long."""

    def __init__(
        self,
        trials: Mapping[str, TrialSpec],
        index: Index,
        claims: Claims,
        hear: Callable[[list[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hear`: called with the keys of the trials that other drivers have ended."""
        self._left = dict(trials)
        """Neither ended nor given out."""
        self._index, self._claims, self._hear, self._clock = index, claims, hear, clock
        self._next_look = self._next_try = -float("inf")
        self._away_since: float | None = None
        """Since when no claim can be written."""

    def add(self, trials: Mapping[str, TrialSpec]) -> None:
        """These are to be given out too."""
        self._left |= trials

    def ask(self, wanted: Wanted = any_trial) -> TrialSpec | None:
        """See `Source`."""
        self._look()
        while (key := self._claimed(wanted)) is not None:
            spec = self._left.pop(key)
            if not self._index.failed_anew(key):
                return spec
            self._claims.drop([key])  # another driver has come to its end since we looked
            self._hear([key])
        return None

    def tell(self, record: Record) -> None:
        """See `Source`."""
        self._claims.drop([record.spec.key])

    def lose(self, spec: TrialSpec) -> None:
        """See `Source`; perhaps to another driver: two that kept theirs would wait for each other."""
        self._left[spec.key] = spec
        self._claims.drop([spec.key])

    def over(self, wanted: Wanted = any_trial) -> bool:
        """See `Source`."""
        return not any(map(wanted, self._left.values()))

    def _claimed(self, wanted: Wanted) -> str | None:
        """The first of those left that nobody else is at, now claimed."""
        for key, spec in self._left.items():
            if wanted(spec) and self._claims.free(key) and self._take(key):
                return key
            if self._clock() < self._next_try:
                break
        return None

    def _take(self, key: str) -> bool:
        """Claim a trial; while the store does not answer there is nothing to do but to ask again."""
        if self._clock() < self._next_try:
            return False
        try:
            taken = self._claims.take(key)
        except OSError as error:
            now = self._clock()
            self._away_since = now if self._away_since is None else self._away_since
            if now - self._away_since > self._PATIENCE_SECONDS:
                raise
            log.warning("no trial can be claimed now: %s", error)
            self._next_try = now + self._TRY_SECONDS
            return False
        self._away_since = None
        return taken

    def _look(self) -> None:
        begin = self._clock()
        if begin < self._next_look:
            return
        try:
            # In this order: a claim that is gone by now has left its record.
            self._claims.look()
            ended = [key for key in self._index.update() if self._left.pop(key, None) is not None]
        except OSError as error:  # perhaps it answers the next time
            log.warning("the store cannot be looked at: %s", error)
            ended = []
        taken = self._clock() - begin
        self._next_look = self._clock() + max(self._LOOK_SECONDS, self._SHARE * taken)
        for key in self._claims.lost():
            log.warning(
                "trial %s was taken over by another driver; whoever is first has its record", key[:12]
            )
        if ended:
            self._hear(ended)


class Part:
    """The trials of one kind out of a source that several threads ask."""

    def __init__(self, source: Source, wanted: Wanted, lock: AbstractContextManager[object]) -> None:
        self._source, self._wanted, self._lock = source, wanted, lock

    def ask(self, wanted: Wanted = any_trial) -> TrialSpec | None:
        """See `Source`."""
        with self._lock:
            return self._source.ask(lambda spec: self._wanted(spec) and wanted(spec))

    def tell(self, record: Record) -> None:
        """See `Source`."""
        with self._lock:
            self._source.tell(record)

    def lose(self, spec: TrialSpec) -> None:
        """See `Source`."""
        with self._lock:
            self._source.lose(spec)

    def over(self, wanted: Wanted = any_trial) -> bool:
        """See `Source`."""
        with self._lock:
            return self._source.over(lambda spec: self._wanted(spec) and wanted(spec))
