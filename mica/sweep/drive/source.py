"""Where a sweep's trials come from: whoever runs them asks for the next one, and tells how each ended."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mica.sweep.store.claims import Claims
from mica.sweep.store.index import Index
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)


class Source(Protocol):
    """Gives out trials, one after the other; each that it gave is told once, when it has its record."""

    def ask(self) -> TrialSpec | None:
        """The trial to run next; None when there is none now."""

    def tell(self, record: Record) -> None:
        """A trial has its record; there may be something to ask for now."""

    @property
    def over(self) -> bool:
        """Whether there is nothing to ask for any more, whatever may be told."""


class GridSource:
    """The missing trials of a grid that several drivers run: each is claimed before it is given out.

    When those that are left are all at other drivers' it gives out none, and waits: for their records, or
    for their claims to end.
    """

    _LOOK_SECONDS, _SHARE = 1.0, 20
    """Between two looks at the store: so much, and so many times what a look takes."""

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
        self._next_look = -float("inf")

    def ask(self) -> TrialSpec | None:
        """See `Source`."""
        self._look()
        for key in list(self._left):
            if self._claims.free(key) and self._claims.take(key):
                return self._left.pop(key)
        return None

    def tell(self, record: Record) -> None:
        """See `Source`."""
        self._claims.drop([record.spec.key])

    @property
    def over(self) -> bool:
        """See `Source`."""
        return not self._left

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
