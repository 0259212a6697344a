"""One trial inside a worker: run it, turn an exception into a record, and store that before all else."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mica.data import Dataset
from mica.sweep.drive.pulse import Pulse
from mica.sweep.drive.user_code import shortened_traceback
from mica.sweep.store.records import Store, Stored
from mica.trial import Record, TrialSpec, run
from mica.trial.device import checked_device
from mica.trial.provenance import provenance

_PAUSES = (1.0, 5.0)
"""Seconds to wait before another try to write."""


def run_and_store(
    spec: TrialSpec,
    sweep: str,
    store: Store,
    *,
    load: Callable[[], Dataset],
    device: str,
    pulse: Pulse | None = None,
) -> Record:
    """Run one trial and put its record, and the files it keeps, into the store.

    An exception of the trial becomes a record with the outcome `failed` and the traceback: it must not
    stop the sweep. What the store raises goes on, because then nothing is recorded. So does what breaks
    the device: every later trial of this process would fail, so another process has to try again. And so
    does `Stopped`, where the `pulse` is told to stop.
    """
    key = spec.key
    stored = store.loose(key)  # nothing is folded while a sweep runs
    if stored is not None and stands(stored.record, spec):
        return stored.record  # an earlier try got this far before its worker died
    started = datetime.now(UTC)
    pulse = pulse or Pulse()
    with pulse.of(key), tempfile.TemporaryDirectory(prefix="mica-") as folder:
        try:
            record = run(
                spec,
                dataset=load(),
                device=device,
                folder=Path(folder),
                on_epoch=pulse.on_epoch,
                on_step=pulse.on_step,
            )
        except Exception as error:
            checked_device(device)
            record = failed(spec, shortened_traceback(error), device, started)
        # Kept files first: whoever sees the record may rely on them.
        _patiently(lambda: store.keep(key, Path(folder)))
    _patiently(lambda: store.put(Stored(key, sweep, record)))
    return record


def stands(record: Record, spec: TrialSpec) -> bool:
    """Whether a record is what this trial would leave: it did not fail, and the user's code is the same."""
    return record.outcome != "failed" and record.spec.code == spec.code


def failed(spec: TrialSpec, error: str, device: str, started: datetime | None = None) -> Record:
    """The record of a trial that ended with an exception."""
    where = provenance(device, started or datetime.now(UTC))
    return Record(spec=spec, outcome="failed", error=error, provenance=where)


def _patiently(write: Callable[[], None]) -> None:
    """Hours of training must not be lost to a storage's bad moment."""
    for pause in _PAUSES:
        try:
            return write()
        except OSError:
            time.sleep(pause)
    return write()
