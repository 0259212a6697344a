"""MLflow's view of a sweep: a projection of the records, never the truth.

One experiment and one parent run a sweep, one child run a trial, found by its tag `mica.trial_key`.
A child counts as done when its status is final and its tag `mica.record` is the digest of the record
that is to be shown. Everything about a child is written under its record's own times, so writing it
again changes nothing: what a crash cut off is completed in place.
"""

import hashlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mica.methods import parse_method
from mica.sweep.layout import MLFLOW
from mica.trial.record import LayerRow, Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

KEY_TAG, SWEEP_TAG, RECORD_TAG = "mica.trial_key", "mica.sweep", "mica.record"
_VERSION = 1
"""Of what a child run holds: raised with it, so that `sync` replaces older ones."""
_PAGE, _BATCH = 1000, 900
_CURVES = ("train_loss", "train_top1", "val_loss", "val_top1", "test_loss", "test_top1")
_PAUSE = 30.0
"""Seconds without a try after MLflow could not be reached, or refused two records in a row."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Defaults for what the user has not set: give up soon, say nothing, call nobody."""


@dataclass(frozen=True)
class Report:
    """What became of the records that were handed over."""

    logged: int = 0
    present: int = 0
    """There already, as they are in the store."""
    failed: int = 0
    """Neither; `sync` catches up."""
    error: str | None = None
    """The first error."""


def default_uri(store: str | Path) -> str:
    """SQLite beside a store's records; in the current folder where the store is not on this machine."""
    place = str(store)
    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    folder = Path.cwd() if "://" in place else Path(place).expanduser().absolute()
    return f"sqlite:///{folder / MLFLOW}"


def sync(uri: str, sweep: str, items: Iterable[tuple[str, Record]]) -> Report:
    """Log those of the records (by trial key) that MLflow does not show yet; never raises for MLflow.

    Safe to repeat, and to run beside a sweep: a trial that two processes have logged keeps one child.
    """
    projection = _Projection(uri, sweep, pause=math.inf)
    for key, record in items:
        projection.log(key, record)
    return projection.finish()


class Tracker:
    """Logs a running sweep's records in the background; whatever MLflow does, the sweep goes on."""

    def __init__(self, uri: str, sweep: str, *, warn: Callable[[str], None] = log.warning) -> None:
        """`warn` is called once, from the background, when MLflow first fails."""
        self._projection = _Projection(uri, sweep, pause=_PAUSE, warn=warn)
        self._queue: queue.SimpleQueue[tuple[str, Record] | None] = queue.SimpleQueue()
        self._abandoned = threading.Event()
        self._handed_over = 0
        # A daemon: a server that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="mica-mlflow", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def log(self, key: str, record: Record) -> None:
        """Hand a record over; returns at once."""
        self._handed_over += 1
        self._queue.put((key, record))

    def close(self, timeout: float = 60.0) -> Report:
        """Wait at most so many seconds for what was handed over; the rest counts as failed."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        late = self._thread.is_alive()
        self._abandoned.set()
        found = self._projection.report()
        missed = self._handed_over - found.logged - found.present
        error = found.error or (f"no answer within {timeout:g} s" if late or missed else None)
        return Report(found.logged, found.present, missed, error)

    def _work(self) -> None:
        self._projection.connect()
        while not self._abandoned.is_set() and (item := self._queue.get()) is not None:
            self._projection.log(*item)
        if not self._abandoned.is_set():
            self._projection.finish()


class _Projection:
    """Shows records one after the other; keeps count, and turns MLflow's errors into pauses."""

    def __init__(
        self, uri: str, sweep: str, *, pause: float, warn: Callable[[str], None] | None = None
    ) -> None:
        self._uri, self._sweep, self._pause, self._warn = uri, sweep, pause, warn
        self._experiment: _Experiment | None = None
        self._resume, self._in_a_row = -math.inf, 0
        self._logged = self._present = self._failed = 0
        self._error: str | None = None

    def connect(self) -> bool:
        """Whether there is a connection, trying to make one unless in a pause."""
        if time.monotonic() < self._resume:
            return False
        if self._experiment is None:
            try:
                self._experiment = _Experiment(self._uri, self._sweep)
            except Exception as error:
                self._fail(error, fatal=True)
        return self._experiment is not None

    def log(self, key: str, record: Record) -> None:
        """Show a record, or count it as failed."""
        if not self.connect() or self._experiment is None:
            self._failed += 1
            return
        try:
            new = self._experiment.show(key, record)
        except Exception as error:
            self._failed += 1
            self._fail(error, fatal=False)
        else:
            self._in_a_row = 0
            self._logged, self._present = self._logged + new, self._present + (not new)

    def finish(self) -> Report:
        """End the parent run."""
        if self._experiment is not None and time.monotonic() >= self._resume:
            try:
                self._experiment.finish()
            except Exception as error:
                self._fail(error, fatal=True)
        return self.report()

    def report(self) -> Report:
        """The counts so far."""
        return Report(self._logged, self._present, self._failed, self._error)

    def _fail(self, error: Exception, *, fatal: bool) -> None:
        self._in_a_row += 1
        if fatal or self._in_a_row > 1:
            self._resume = time.monotonic() + self._pause
        if self._error is None:
            self._error = f"{type(error).__name__}: {error}"
            if self._warn is not None:
                self._warn(f"MLflow at {self._uri} fails, the sweep goes on without it: {self._error}")


@dataclass
class _Child:
    run_id: str
    digest: str | None
    done: bool


class _Experiment:
    """One sweep's experiment, parent run and child runs; every method may raise what MLflow raises."""

    def __init__(self, uri: str, sweep: str) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # urllib3 reports every retry of a request; one warning of ours says as much.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._client = MlflowClient(uri)
        self._id = self._experiment_id(uri, sweep)
        parents = list(self._runs(SWEEP_TAG))
        if parents:
            self._parent = parents[0].info.run_id
            self._client.update_run(self._parent, status="RUNNING")
        else:
            parent = self._client.create_run(self._id, tags={SWEEP_TAG: sweep}, run_name=sweep)
            self._parent = parent.info.run_id
        self._children = self._find_children()

    def show(self, key: str, record: Record) -> bool:
        """Make a trial's child run what its record says; False when it is so already."""
        digest = hashlib.sha256(f"{_VERSION}\n{record.model_dump_json()}".encode()).hexdigest()[:16]
        child = self._children.get(key)
        if child is not None and child.digest != digest:  # a failed trial that was run again, say
            self._client.delete_run(child.run_id)
            del self._children[key]
            child = None
        if child is not None and child.done:
            return False
        if child is None:
            run = self._client.create_run(
                self._id,
                start_time=_started(record),
                tags={KEY_TAG: key, RECORD_TAG: digest, "mlflow.parentRunId": self._parent, **_tags(record)},
                run_name=_run_name(record.spec),
            )
            child = self._children[key] = _Child(run.info.run_id, digest, done=False)
        self._fill(child.run_id, record)
        child.done = True
        return True

    def finish(self) -> None:
        """End the parent run."""
        self._client.set_terminated(self._parent)

    def _fill(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(key, value) for key, value in _params(record.spec).items()]
        metrics = [Metric(*point) for point in _metrics(record)]
        for start in range(0, max(len(metrics), 1), _BATCH):
            self._client.log_batch(run_id, metrics[start : start + _BATCH], () if start else params)
        if record.layers:
            self._client.log_text(run_id, _layers_csv(record.layers), "layers.csv")
        # Last: only now does the child count as done.
        status = "FAILED" if record.outcome == "failed" else "FINISHED"
        self._client.set_terminated(run_id, status, end_time=_ended(record))

    def _experiment_id(self, uri: str, sweep: str) -> str:
        found = self._client.get_experiment_by_name(sweep)
        if found is None:
            place = None
            if uri.startswith("sqlite:///"):
                file = Path(uri.removeprefix("sqlite:///").partition("?")[0])
                place = (file.absolute().parent / "mlflow-artifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(sweep, artifact_location=place, tags=tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find_children(self) -> dict[str, _Child]:
        """By trial key; of two that were logged at the same time, one is deleted."""
        found: dict[str, _Child] = {}
        for run in self._runs(KEY_TAG):
            key = run.data.tags[KEY_TAG]
            done = run.info.status in ("FINISHED", "FAILED")
            child = _Child(run.info.run_id, run.data.tags.get(RECORD_TAG), done)
            if key in found:
                keep, drop = (child, found[key]) if done and not found[key].done else (found[key], child)
                self._client.delete_run(drop.run_id)
                child = keep
            found[key] = child
        return found

    def _runs(self, tag: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._id], f"tags.`{tag}` LIKE '%'", max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return
