"""The desk between a driver and its lanes: trials lie on it until a lane is free, and news until it is read.

A plain object; on a cluster it is an actor, so that lanes need not wait for the driver.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from mica.sweep.drive.progress import Place, Report
from mica.sweep.drive.watchdog import patience

Packed = tuple[str, bytes]
"""A trial's key, and its spec pickled: only driver and lanes need to know what is inside."""
Answer = Packed | Literal["wait", "leave"]
"""To a lane that is free: a trial; nothing now; or nothing any more."""
_IDLE_DEATHS = 10
"""So many workers in a row that die before they take a trial: they cannot start."""
_NOTHING, _SOMEWHERE = Report(""), Place()


@dataclass(frozen=True)
class Ended:
    """What became of one trial."""

    key: str
    how: Literal["stored", "unsaved", "lost", "back"]
    """Its record is in the store, or could not be written, or each of its workers died of it; or it was told
    to stop and is not done, which is nobody's fault."""
    error: str = ""
    """Why there is no record."""


@dataclass(frozen=True)
class At:
    """A trial that is in a lane."""

    report: Report
    place: Place
    seconds: float
    """Since it was handed out."""


@dataclass(frozen=True)
class Stalled:
    """A trial that made no progress and was taken from its worker, which has to be killed."""

    key: str
    place: Place
    reason: str


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
    limit: int | None = None
    """How many lanes it may have while other sweeps wait for theirs; None: nobody does."""
    running: list[At] = field(default_factory=list)
    stalled: list[Stalled] = field(default_factory=list)
    """Each is told once."""


@dataclass
class _Worker:
    """The process that a lane lives in, and what it is at."""

    lane: int
    place: Place
    trial: Packed | None = None
    since: float = 0.0
    report: Report = _NOTHING
    moved: float = 0.0
    """When it last made progress."""


class Desk:
    """Hands out each trial once; again, and first, if its worker died or handed it back."""

    def __init__(
        self, attempts: int, stall: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            attempts: as many workers may die of one trial; then it is given up.
            stall: see `watchdog.patience`.
            clock: monotonic, in seconds.
        """
        self._attempts, self._stall, self._clock = attempts, stall, clock
        self._waiting: deque[Packed] = deque()
        self._closed = self._stopped = False
        self._draining: frozenset[str] = frozenset()
        self._limit: int | None = None
        self._killed: set[int] = set()
        """Lanes whose worker was given up, and whose death will be told."""
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

    def stop(self) -> None:
        """The sweep stops: nothing that waits is handed out any more, and what runs is to stop."""
        self._waiting.clear()
        self._closed = self._stopped = True

    def drain(self, nodes: Iterable[str]) -> None:
        """These nodes will be gone soon: what runs there is to stop, and goes on elsewhere."""
        self._draining = frozenset(nodes)

    def allow(self, lanes: int | None) -> None:
        """So many lanes at most, for other sweeps wait: what is above that leaves after its trial."""
        self._limit = lanes

    @property
    def _crowded(self) -> bool:
        return self._limit is not None and len(self._workers) > self._limit

    def waits(self) -> bool:
        """Whether a lane more would find a trial."""
        return bool(self._waiting)

    def died(self, lane: int, reason: str) -> None:
        """A lane's worker died: the trial that it was at, and no other, is blamed."""
        if lane in self._killed:
            self._killed.discard(lane)
            return
        self._deaths.append(reason)
        if not self._vacate(lane, f"worker died: {reason}"):
            self._idle_deaths += 1

    def news(self) -> News:
        """What happened since the last call."""
        stalled = self._end_stalled()
        now = self._clock()
        running = [At(at.report, at.place, now - at.since) for at in self._workers.values() if at.trial]
        seconds = sum(self._seconds) / len(self._seconds) if self._seconds else None
        broken = self._idle_deaths >= _IDLE_DEATHS
        found = News(
            self._ended,
            self._deaths,
            len(self._waiting),
            len(self._workers),
            seconds,
            broken,
            self._limit,
            running,
            stalled,
        )
        self._ended, self._deaths, self._seconds = [], [], []
        return found

    # The lanes' side

    def enter(self, lane: int, place: Place = _SOMEWHERE) -> int:
        """A lane's worker is ready; returns its number. The lane's worker before, if any, is gone."""
        self._vacate(lane, "worker died: another took its place")
        self._entered += 1
        self._workers[self._entered] = _Worker(lane, place)
        return self._entered

    def take(self, worker: int, ended: Ended | None = None) -> Answer:
        """The next trial for a worker, which tells how its last one ended."""
        self._end(worker, ended)
        at = self._workers.get(worker)
        if at is None:  # it was given up as dead, and its trial with it
            return "leave"
        if at.place.node in self._draining or self._crowded:
            del self._workers[worker]
            return "leave"
        if self._waiting:
            at.trial = self._waiting.popleft()
            at.since = at.moved = self._clock()
            at.report = Report(at.trial[0])
            return at.trial
        if self._closed:
            del self._workers[worker]
            return "leave"
        return "wait"

    def leave(self, worker: int, ended: Ended | None = None) -> None:
        """A worker goes, of its own accord."""
        self._end(worker, ended)
        self._workers.pop(worker, None)

    def report(self, worker: int, report: Report) -> bool:
        """How far a worker's trial is; returns whether it is to stop."""
        at = self._workers.get(worker)
        if at is None:
            return True
        if at.trial is not None and at.trial[0] == report.key:
            if report != at.report:
                at.moved = self._clock()
            at.report = report
        return self._stopped or at.place.node in self._draining

    def _end(self, worker: int, ended: Ended | None) -> None:
        at = self._workers.get(worker)
        if ended is None:
            return
        self._idle_deaths = 0
        if ended.how == "back":
            if at is not None and at.trial is not None and not self._stopped:
                self._waiting.appendleft(at.trial)
        else:
            self._ended.append(ended)
            if at is not None:
                self._seconds.append(self._clock() - at.since)
        if at is not None:
            at.trial = None

    def _end_stalled(self) -> list[Stalled]:
        """Take their trials from workers that do not move; each trial is blamed as for a worker's death."""
        now, found = self._clock(), []
        for at in list(self._workers.values()):
            quiet = now - at.moved
            if at.trial is not None and quiet > patience(self._stall, at.report):
                reason = f"made no progress for {quiet:.0f} s"
                found.append(Stalled(at.trial[0], at.place, reason))
                self._killed.add(at.lane)
                self._vacate(at.lane, reason)
        return found

    def _vacate(self, lane: int, reason: str) -> bool:
        """A lane's worker is gone: its trial comes back, in front; whether it had one."""
        numbers = [number for number, worker in self._workers.items() if worker.lane == lane]
        trials = [trial for number in numbers if (trial := self._workers.pop(number).trial)]
        for trial in trials:
            self._blamed[trial[0]] += 1
            if self._blamed[trial[0]] < self._attempts:
                if self._stopped:  # it is not done, then
                    continue
                self._waiting.appendleft(trial)
            else:
                self._ended.append(Ended(trial[0], "lost", reason))
        return bool(trials)
