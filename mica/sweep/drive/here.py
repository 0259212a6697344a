"""A sweep in this process, one trial after the other: no Ray, so a debugger sees everything."""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import torch

from mica.data import Dataset
from mica.errors import UserError
from mica.sweep.drive.executor import (
    Job,
    Need,
    check_precision,
    device_of,
    need_among,
    one_of_each_kind,
    threads_of,
)
from mica.sweep.drive.progress import Report, Running
from mica.sweep.drive.pulse import Pulse, Stopped, Telling
from mica.sweep.drive.source import Source
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.watchdog import patience
from mica.sweep.drive.worker import run_and_store
from mica.trial.device import checked_device
from mica.trial.prepare import check_fits
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.2
"""Between two questions for a trial, where other drivers have them all."""


class Here:
    """The executor without any other process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._data: dict[str, Dataset] = {}
        self._need: Need = {"cpu": 1, "gpu": 0}

    def check(self, trials: Collection[TrialSpec]) -> None:
        """See `Executor`; as many cores as the sweep asks for are taken to be there."""
        self._need = need_among(self._job.resources, trials, torch.cuda.device_count())
        faults: list[str] = []
        with _noting(faults):
            checked_device(device_of(self._need))
        with _noting(faults):
            check_precision(trials, self._need)
        kinds = one_of_each_kind(trials)
        for label in dict.fromkeys(spec.data.label for spec in kinds):
            with _noting(faults):
                self._data[label] = self._job.sources[label].load()
        for spec in kinds:
            if spec.data.label in self._data:
                faults += check_fits(spec, self._data[spec.data.label])
        if faults:
            raise UserError("\n".join(dict.fromkeys(faults)))

    def run(
        self,
        source: Source,
        hear: Callable[[Record], None],
        stopping: Stopping,
        progress: Callable[[list[Running]], None] = lambda running: None,
    ) -> None:
        """See `Executor`."""
        watch = _Watch(self._job.times.stall, progress)
        stopping.may_wait = watch.stop
        with (
            suppress(KeyboardInterrupt, Stopped),
            _threads(threads_of(self._need)),
            Telling(watch.pulse, watch.tell),
        ):
            while not (stopping.reason or source.over()):
                if (spec := source.ask()) is None:  # other drivers run the rest
                    time.sleep(_WAIT_SECONDS)
                    continue
                try:
                    record = self._run(spec, watch)
                except OSError as error:  # the storage's: a full disk, say
                    stopping.unsaved(spec.key, str(error))
                    source.lose(spec)
                else:
                    hear(record)

    def _run(self, spec: TrialSpec, watch: "_Watch") -> Record:
        job, data = self._job, self._data[spec.data.label]
        watch.begin(spec)
        return run_and_store(
            spec,
            job.sweep,
            job.store,
            load=lambda: data,
            device=device_of(self._need),
            times=job.times,
            pulse=watch.pulse,
        )


class _Watch:
    """Tells how far the one trial is; where that is nowhere for long it can only say so."""

    def __init__(self, stall: float, progress: Callable[[list[Running]], None]) -> None:
        self.pulse = Pulse()
        self._stall, self._progress = stall, progress
        self._spec: TrialSpec | None = None
        self._last = Report("")
        self._since = self._moved = 0.0
        self._warned = False

    def begin(self, spec: TrialSpec) -> None:
        """This trial runs now."""
        self._spec, self._last, self._warned = spec, Report(spec.key), False
        self._since = self._moved = time.monotonic()

    def stop(self) -> bool:
        """Whether the trial will notice by itself that it is to stop."""
        self.pulse.stop()
        return self.pulse.stepping

    def tell(self, report: Report) -> bool:
        """Called about once a second; never asks the trial to stop."""
        spec, now = self._spec, time.monotonic()
        if spec is None or spec.key != report.key:
            return False
        if report != self._last:
            self._last, self._moved = report, now
        if now - self._moved > patience(self._stall, report) and not self._warned:
            self._warned = True
            log.warning("%s makes no progress: nothing for %.0f s", spec, now - self._moved)
        host, epochs = os.uname().nodename, spec.protocol.epochs
        running = Running(
            spec.key, str(spec), host, report.epoch, epochs, report.val_top1, now - self._since, report.trains
        )
        self._progress([running])
        return False


@contextmanager
def _noting(faults: list[str]) -> Iterator[None]:
    """What is wrong with one thing does not hide what is wrong with the next."""
    try:
        yield
    except UserError as error:
        faults.append(str(error))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """As many threads as a worker would have: with another number sums may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
