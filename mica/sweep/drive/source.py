"""Where a sweep's trials come from: whoever runs them asks for the next one, and tells how each ended."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from mica.trial.record import Record
from mica.trial.spec import TrialSpec


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
    """The missing trials of a grid, in the order in which to start them."""

    def __init__(self, trials: Iterable[TrialSpec]) -> None:
        self._waiting = deque(trials)

    def ask(self) -> TrialSpec | None:
        return self._waiting.popleft() if self._waiting else None

    def tell(self, record: Record) -> None:
        """No cell of a grid depends on another's record."""

    @property
    def over(self) -> bool:
        return not self._waiting
