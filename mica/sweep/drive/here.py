"""A sweep in this process, one trial after the other: no Ray, so a debugger sees everything."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import torch

from mica.data import Dataset
from mica.errors import UserError
from mica.sweep.drive.executor import Job, Need, device_of, need_among, one_of_each_kind, threads_of
from mica.sweep.drive.source import Source
from mica.sweep.drive.stopping import Stopping
from mica.sweep.drive.worker import run_and_store
from mica.trial.device import checked_device
from mica.trial.prepare import check_fits
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

_WAIT_SECONDS = 0.2


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
        kinds = one_of_each_kind(trials)
        for label in dict.fromkeys(spec.data.label for spec in kinds):
            with _noting(faults):
                self._data[label] = self._job.sources[label].load()
        for spec in kinds:
            if spec.data.label in self._data:
                faults += check_fits(spec, self._data[spec.data.label])
        if faults:
            raise UserError("\n".join(dict.fromkeys(faults)))

    def run(self, source: Source, hear: Callable[[Record], None], stopping: Stopping) -> None:
        """See `Executor`."""
        with suppress(KeyboardInterrupt), _threads(threads_of(self._need)):
            while not (stopping.reason or source.over):
                if (spec := source.ask()) is None:  # other drivers run the rest
                    time.sleep(_WAIT_SECONDS)
                    continue
                try:
                    record = self._run(spec)
                except OSError as error:  # the storage's: a full disk, say
                    stopping.unsaved(spec.key, str(error))
                else:
                    hear(record)

    def _run(self, spec: TrialSpec) -> Record:
        job, data = self._job, self._data[spec.data.label]
        return run_and_store(
            spec,
            job.sweep,
            job.store,
            load=lambda: data,
            device=device_of(self._need),
            checkpoint_seconds=job.times.checkpoint,
        )


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
