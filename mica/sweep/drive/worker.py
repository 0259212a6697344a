"""One trial inside a worker: run it, turn an exception into a record, and store that before all else."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mica.data import Dataset
from mica.sweep.drive.pulse import Pulse
from mica.sweep.drive.scratch import scratch_folder
from mica.sweep.drive.user_code import shortened_traceback
from mica.sweep.plan.spec import Times
from mica.sweep.store.checkpoints import StoredCheckpoints
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Newer, Stored
from mica.trial import Record, TrialSpec, run
from mica.trial.device import checked_device
from mica.trial.provenance import provenance

T = TypeVar("T")

_TIMES = Times()

_PAUSES = (1.0, 20.0)
"""Seconds before another try to write, twice as many each time: at first, and at most."""


def run_and_store(
    spec: TrialSpec,
    sweep: str,
    store: Store,
    *,
    load: Callable[[], Dataset],
    device: str,
    times: Times = _TIMES,
    pulse: Pulse | None = None,
) -> Record:
    """Run one trial and put its record, and the files it keeps, into the store; returns the one that stands.

    It goes on from a checkpoint where an earlier attempt has left one. An exception of the trial becomes a
    record with the outcome `failed` and the traceback: it must not stop the sweep. What the store raises
    goes on, because then nothing is recorded. So does what breaks the device: every later trial of this
    process would fail, so another process has to try again. And so does `Stopped`, where the `pulse` is told
    to stop.
    """
    key = spec.key
    try:
        stored = _patiently(lambda: store.find(key, spec.code), times.storage)
    except Newer as error:
        raise OSError(f"its record {error}") from error
    if stored is not None:
        return stored.record  # an earlier attempt, or another driver's, got this far
    checkpoints = StoredCheckpoints(store.place, key, times.checkpoint)
    started = datetime.now(UTC)
    pulse = pulse or Pulse()
    with pulse.of(key), scratch_folder() as scratch:
        folder = Path(scratch, "kept")
        folder.mkdir()
        try:
            record = run(
                spec,
                dataset=load(),
                device=device,
                folder=folder,
                keeper=checkpoints,
                on_epoch=pulse.on_epoch,
                on_step=pulse.on_step,
            )
        except Exception as error:
            checked_device(device)
            record = failed(spec, shortened_traceback(error), device, started)
        else:
            # Kept files first: whoever sees the record may rely on them.
            kept = _patiently(lambda: store.keep(key, folder), times.storage)
            record = record.model_copy(update={"kept": kept})
    standing = _patiently(lambda: store.put(Stored(key, sweep, record)), times.storage)
    if record.outcome != "failed":
        with suppress(OSError):  # the record is there, and nobody asks for these any more
            checkpoints.clear()
    return standing.record


def failed(spec: TrialSpec, error: str, device: str, started: datetime | None = None) -> Record:
    """The record of a trial that ended with an exception."""
    where = provenance(device, started or datetime.now(UTC))
    return Record(spec=spec, outcome="failed", error=error, provenance=where)


def _patiently(act: Callable[[], T], seconds: float) -> T:
    """Hours of training must not be lost to a storage's bad moment: try for so long."""
    end, pause = time.monotonic() + seconds, _PAUSES[0]
    while True:
        try:
            return act()
        except OSError:
            left = end - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(pause, left))
            pause = min(2 * pause, _PAUSES[1])
