"""The driver's end of the desk: tops it up from the source, and passes on what became of its trials."""

import logging
import math
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from mica.errors import SweepIncomplete
from mica.sweep.drive.desk import At, Ended, News, Packed
from mica.sweep.drive.executor import Job
from mica.sweep.drive.progress import Running
from mica.sweep.drive.source import Source
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.worker import failed
from mica.sweep.store.stored import Newer, Stored
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

_PERIOD, _BARE_PERIOD = 0.2, 0.02
"""Seconds between two looks at the desk; where lanes found it bare."""
_TELLING = 1.0
"""Seconds between two tellings of what runs."""
_PATIENCE = 20.0
"""Seconds that trials which run get to save what they have come to, where the sweep has to stop."""
_MOST_A_LANE = 100
"""Trials that may wait for each lane where they take no time at all."""


class DeskCalls(Protocol):
    """A desk as its driver sees it, here or in another process."""

    def add(self, trials: list[Packed]) -> None: ...

    def close(self) -> None: ...

    def stop(self) -> None: ...

    def news(self) -> News: ...


@dataclass
class Course:
    """How a run stands, for those who start and stop lanes; plain values, for Tune pickles them."""

    lanes: int = 0
    """How many there may be by now: those that are there, and as many more as would find work."""
    dry: bool = False
    """There will be no more trials, so no more lanes either."""
    broken: bool = False
    """It is over because something was raised."""
    over: bool = False
    """Every trial has ended; or the sweep has to stop, and those that ran have gone back."""


class Clerk:
    """Works in a thread of its own from entering to leaving; what it raises comes out on leaving."""

    def __init__(
        self,
        desk: DeskCalls,
        source: Source,
        job: Job,
        hear: Callable[[Record], None],
        stopping: Stopping,
        progress: Callable[[list[Running]], None] = lambda running: None,
        *,
        device: str,
        lanes: int,
        again: Iterable[TrialSpec] = (),
    ) -> None:
        """
        Args:
            progress: told about once a second what runs.
            lanes: how many fit at first, so that none of them finds the desk bare.
            again: trials that the source has given already, and that come first.
        """
        self._desk, self._source, self._job = desk, source, job
        self._hear, self._stopping, self._device, self._first = hear, stopping, device, lanes
        self._progress, self._told = progress, -math.inf
        self.course = Course()
        self._again = deque(again)
        self._out: dict[str, TrialSpec] = {}
        """On the desk or in a lane."""
        self._seconds = math.inf
        """What a trial takes, by those that ended last."""
        self._until: float | None = None
        """When those that run have had their time to stop; None: they go on."""
        self._alone_since: float | None = None
        """Since when there is no lane."""
        self._leaving = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="mica-clerk", daemon=True)

    @property
    def left(self) -> list[TrialSpec]:
        """Trials that the source has given and that have not ended."""
        return [*self._out.values(), *self._again]

    def __enter__(self) -> Course:
        self.course.lanes = self._top_up(self._first)
        self._thread.start()
        return self.course

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self.course.over:
                last = self._leaving.is_set()  # what happened before it was is in the news that follow
                news = self._desk.news()
                self._pass_on(news)
                each = row_of(self._seconds)
                waiting = news.waiting + self._top_up(max(1, news.lanes) * each - news.waiting)
                useful = news.lanes + math.ceil(waiting / each)
                self.course.lanes = useful if news.limit is None else min(useful, news.limit)
                self.course.over = self.course.over or last or self._ended(news)
                if not self.course.over:
                    bare = not news.waiting and not self.course.dry
                    self._leaving.wait(_BARE_PERIOD if bare else _PERIOD)
        except BaseException as error:
            self._error = error
            self.course.broken = self.course.over = True

    def _ended(self, news: News) -> bool:
        if self._stopping.reason is None:
            return self._dry and not self._out
        if self._until is None:
            self._desk.stop()
            self._until = time.monotonic() + _PATIENCE
            return False  # what ran when the news were written may have left since
        return not news.running or time.monotonic() > self._until

    def _top_up(self, number: int) -> int:
        """Lay so many more trials on the desk, or as many as there are; returns how many."""
        if self._stopping.reason is not None:
            return 0
        packed = [(spec.key, pickle.dumps(spec)) for spec in self._asked(number)]
        if packed:
            self._desk.add(packed)
        if self._dry and not self.course.dry:
            self.course.dry = True
            self._desk.close()
        return len(packed)

    @property
    def _dry(self) -> bool:
        return self._source.over() and not self._again

    def _asked(self, number: int) -> Iterator[TrialSpec]:
        for _ in range(number):
            spec = self._again.popleft() if self._again else self._source.ask()
            if spec is None:
                return
            self._out[spec.key] = spec
            yield spec

    def _pass_on(self, news: News) -> None:
        if time.monotonic() >= self._told + _TELLING:
            self._told = time.monotonic()
            self._progress([self._running(at) for at in news.running if at.report.key in self._out])
        for stalled in news.stalled:
            log.warning(
                "%s %s: its worker is killed, another takes its place",
                self._out.get(stalled.key),
                stalled.reason,
            )
        for reason in news.deaths:
            log.warning("a worker died, another takes its place: %s", reason)
        self._look_for_lanes(news)
        if news.broken and news.deaths:
            self._stopping.stop(SweepIncomplete(f"workers cannot start: {news.deaths[-1]}"))
        if news.seconds is not None:
            self._seconds = news.seconds
        for ended in news.ended:
            spec = self._out.pop(ended.key, None)
            if spec is None:  # its worker, given up as dead, was not
                continue
            try:
                record = self._record(spec, ended)
            except OSError as error:
                self._stopping.unsaved(ended.key, str(error))
                self._source.lose(spec)
            else:
                self._hear(record)

    def _look_for_lanes(self, news: News) -> None:
        """Say that no node has room, and give up after the time that the sweep's file gives."""
        now, patience = time.monotonic(), self._job.times.nodes
        if news.lanes or not patience:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > patience:
            self._stopping.stop(SweepIncomplete(f"no node has had room for a trial for {patience:,.0f} s"))

    def _running(self, at: At) -> Running:
        spec, report = self._out[at.report.key], at.report
        return Running(
            spec.key,
            str(spec),
            at.place.host,
            report.epoch,
            spec.protocol.epochs,
            report.val_top1,
            at.seconds,
            report.trains,
        )

    def _record(self, spec: TrialSpec, ended: Ended) -> Record:
        """The one that its worker stored; if it died of the trial, a failed one in its place."""
        if ended.how == "unsaved":
            raise OSError(ended.error)
        store = self._job.store
        try:
            stored = store.find(ended.key, spec.code)
        except Newer as error:
            raise OSError(f"its record {error}") from error
        if stored is None and ended.how == "lost":
            record = failed(spec, ended.error, self._device)
            stored = store.put(Stored(ended.key, self._job.sweep, record))
        stored = stored or store.last_failure(ended.key)
        if stored is None:
            raise OSError("it has vanished from the store")
        return stored.record


def row_of(seconds: float) -> int:
    """How many trials wait for each lane, when a trial takes so long.

    One: whoever becomes free finds it, and what is told of the trials before has its say in all but a few.
    Of trials so short that a lane runs through several between two looks at the desk, three times as many as
    it uses up meanwhile.
    """
    return min(_MOST_A_LANE, max(1, math.ceil(3 * _PERIOD / max(seconds, 1e-9))))
