"""The trial that runs in this process: how far it is, and how it is told to stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

from mica.sweep.drive.progress import Report
from mica.training.state import Epoch

_PERIOD = 1.0
"""Seconds between two reports."""


class Stopped(BaseException):
    """A trial was told to stop: what it has come to is saved on the way out, and it goes back as not done.

    No `Exception`, for it is no failure of the trial.
    """


class Pulse:
    """Counts a trial's steps, and ends it between two of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stop = threading.Event()
        self._for_good = False
        self._report: Report | None = None
        self._last = 0.0
        self.trial: object = None
        """Tells one run of a trial from every other."""

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Meanwhile this trial runs."""
        self._report, self.trial = Report(key), object()
        if not self._for_good:
            self._stop.clear()
        try:
            yield
        finally:
            self._report = None

    @property
    def report(self) -> Report | None:
        """How far the trial is; None: none runs."""
        return self._report

    @property
    def stepping(self) -> bool:
        """Whether the trial looks between its steps whether it is to stop."""
        report = self._report
        return report is not None and report.steps > 0

    def stop(self, *, for_good: bool = False) -> None:
        """End the trial between two steps; one that takes no more of them ends by itself.

        `for_good`: and any that may begin yet.
        """
        self._for_good = self._for_good or for_good
        self._stop.set()

    def on_step(self) -> None:
        """Between two steps; raises `Stopped`."""
        if self._report is not None:
            now = self._clock()
            slowest = max(self._report.slowest, now - self._last) if self._report.steps else 0.0
            self._report, self._last = (
                replace(self._report, steps=self._report.steps + 1, slowest=slowest),
                now,
            )
        if self._stop.is_set():
            raise Stopped

    def on_epoch(self, epoch: Epoch) -> None:
        """After each epoch."""
        if self._report is not None:
            self._report = replace(self._report, epoch=epoch.number, val_top1=epoch.val.top1)


class Telling:
    """A thread that reports about once a second, from entering to leaving; what it is told is done."""

    def __init__(
        self,
        pulse: Pulse,
        tell: Callable[[Report], bool],
        stop: Callable[[], None] | None = None,
        period: float = _PERIOD,
    ) -> None:
        """
        Args:
            tell: passes a report on, and returns whether the trial is to stop; what it raises is ignored.
            stop: called then, once a trial; by default it ends between two steps.
            period: seconds between two reports.
        """
        self._pulse, self._tell, self._period = pulse, tell, period
        self._stop = stop or pulse.stop
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mica-pulse", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()

    def _work(self) -> None:
        stopped: object = None
        while not self._leaving.wait(self._period):
            report = self._pulse.report
            if report is None or self._pulse.trial is stopped:
                continue
            trial = self._pulse.trial
            try:
                to_stop = self._tell(report)
            except Exception:  # nobody hears: whoever waits for this lane notices that
                continue
            if to_stop and self._pulse.trial is trial:
                stopped = trial
                self._stop()
