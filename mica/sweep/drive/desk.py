"""The desk between a driver and its lanes: trials lie on it until a lane is free, and news until it is read.

A plain object; on a cluster it is an actor, so that lanes need not wait for the driver.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Packed = tuple[str, bytes]
"""A trial's key, and its spec pickled: only driver and lanes need to know what is inside."""
Answer = Packed | Literal["wait", "leave"]
"""To a lane that is free: a trial; nothing now; or nothing any more."""
_IDLE_DEATHS = 10
"""So many workers in a row that die before they take a trial: they cannot start."""


@dataclass(frozen=True)
class Ended:
    """What became of one trial."""

    key: str
    how: Literal["stored", "unsaved", "lost"]
    """Its record is in the store, or could not be written, or each of its workers died of it."""
    error: str = ""
    """Why there is no record."""


@dataclass(frozen=True)
class News:
    """What the driver has not heard yet, and how the desk stands."""

    ended: list[Ended]
    deaths: list[str]
    """Why workers died."""
    waiting: int
    """Trials that no lane has taken."""
    lanes: int
    """Lanes that are there, at work or not."""
    seconds: float | None
    """What the trials that ended took, on average; None: none ended."""
    broken: bool
    """Workers die one after the other before they take a trial."""


@dataclass
class _Worker:
    """The process that a lane lives in, and what it is at."""

    lane: int
    trial: Packed | None = None
    since: float = 0.0


class Desk:
    """Hands out each trial once; again, and first, if its worker died."""

    def __init__(self, attempts: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`attempts`: as many workers may die of one trial; then it is given up."""
        self._attempts, self._clock = attempts, clock
        self._waiting: deque[Packed] = deque()
        self._closed = False
        self._workers: dict[int, _Worker] = {}
        self._entered = 0
        self._blamed: Counter[str] = Counter()
        self._idle_deaths = 0
        self._ended: list[Ended] = []
        self._deaths: list[str] = []
        self._seconds: list[float] = []

    # The driver's side

    def add(self, trials: Iterable[Packed]) -> None:
        """Lay trials down, behind those that wait."""
        self._waiting.extend(trials)

    def close(self) -> None:
        """No more trials will come: a lane that finds none may leave."""
        self._closed = True

    def clear(self) -> None:
        """The sweep stops: nothing that waits is handed out any more."""
        self._waiting.clear()
        self._closed = True

    def died(self, lane: int, reason: str) -> None:
        """A lane's worker died: the trial that it was at, and no other, is blamed."""
        self._deaths.append(reason)
        if not self._vacate(lane, reason):
            self._idle_deaths += 1

    def news(self) -> News:
        """What happened since the last call."""
        seconds = sum(self._seconds) / len(self._seconds) if self._seconds else None
        broken = self._idle_deaths >= _IDLE_DEATHS
        found = News(self._ended, self._deaths, len(self._waiting), len(self._workers), seconds, broken)
        self._ended, self._deaths, self._seconds = [], [], []
        return found

    # The lanes' side

    def enter(self, lane: int) -> int:
        """A lane's worker is ready; returns its number. The lane's worker before, if any, is gone."""
        self._vacate(lane, "another worker took its place")
        self._entered += 1
        self._workers[self._entered] = _Worker(lane)
        return self._entered

    def take(self, worker: int, ended: Ended | None = None) -> Answer:
        """The next trial for a worker, which tells how its last one ended."""
        if ended is not None:
            self._idle_deaths = 0
            self._ended.append(ended)
        at = self._workers.get(worker)
        if at is None:  # it was given up as dead, and its trial with it
            return "leave"
        if ended is not None:
            self._seconds.append(self._clock() - at.since)
        at.trial, at.since = self._waiting.popleft() if self._waiting else None, self._clock()
        if at.trial is not None:
            return at.trial
        if self._closed:
            del self._workers[worker]
            return "leave"
        return "wait"

    def _vacate(self, lane: int, reason: str) -> bool:
        """A lane's worker is gone: its trial comes back, in front; whether it had one."""
        numbers = [number for number, worker in self._workers.items() if worker.lane == lane]
        trials = [trial for number in numbers if (trial := self._workers.pop(number).trial)]
        for trial in trials:
            self._blamed[trial[0]] += 1
            if self._blamed[trial[0]] < self._attempts:
                self._waiting.appendleft(trial)
            else:
                self._ended.append(Ended(trial[0], "lost", reason))
        return bool(trials)
