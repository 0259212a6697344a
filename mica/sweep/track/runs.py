"""One sweep in MLflow: an experiment and a parent run, and below it a child run a trial.

A child is found by its tag `mica.trial_key`. It counts as done when its status is final and its tag
`mica.record` is the digest of the record that is to be shown. All that a child holds is written under
its record's own times, so writing it again changes nothing: what a crash cut off is completed in place.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mica.sweep.track import fields
from mica.trial.record import Record

KEY_TAG, SWEEP_TAG, RECORD_TAG = "mica.trial_key", "mica.sweep", "mica.record"
PARENT_TAG = "mlflow.parentRunId"
_PAGE, _BATCH = 1000, 900
"""Runs a search answers with, and metrics a request takes; MLflow allows 1000 values a request."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Defaults for what the user has not set: give up soon, say nothing, call nobody."""


def _settle() -> None:
    """Make MLflow quiet and quick to give up, before or after it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (it sets its loggers up, and once only)

    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    # urllib3 reports every retry of a request; one warning of ours says as much.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass
class _Child:
    run_id: str
    digest: str | None
    done: bool


class Experiment:
    """One sweep's experiment, parent run and child runs; every method may raise what MLflow raises."""

    def __init__(self, uri: str, sweep: str) -> None:
        """Connect, and find or make experiment and parent run."""
        _settle()
        from mlflow import MlflowClient

        self._client = MlflowClient(uri)
        self._id = self._experiment_id(uri, sweep)
        parents = sorted(self._runs(SWEEP_TAG), key=lambda run: run.info.start_time)
        if parents:
            self._client.update_run(parents[0].info.run_id, status="RUNNING")
        else:
            parents = [self._client.create_run(self._id, tags={SWEEP_TAG: sweep}, run_name=sweep)]
        self._parent = parents[0].info.run_id
        for other in parents[1:]:  # two processes began at the same moment
            self._client.delete_run(other.info.run_id)
        self._children = self._find_children()

    def show(self, key: str, record: Record) -> bool:
        """Make a trial's child run what its record says; False when it is so already."""
        digest = fields.digest(record)
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
                start_time=fields.started(record),
                tags={
                    KEY_TAG: key,
                    RECORD_TAG: digest,
                    PARENT_TAG: self._parent,
                    **fields.tags(record),
                },
                run_name=record.spec.cell,
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

        params = [Param(key, value) for key, value in fields.params(record.spec).items()]
        metrics = [Metric(*point) for point in fields.metrics(record)]
        for start in range(0, max(len(metrics), 1), _BATCH):
            self._client.log_batch(run_id, metrics[start : start + _BATCH], () if start else params)
        if record.layers:
            self._client.log_text(run_id, fields.layers_csv(record.layers), "layers.csv")
        # Last: only now does the child count as done.
        status = "FAILED" if record.outcome == "failed" else "FINISHED"
        self._client.set_terminated(run_id, status, end_time=fields.ended(record))

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
        """By trial key, all below our parent; of two that were logged at the same time, one is deleted."""
        found: dict[str, _Child] = {}
        for run in self._runs(KEY_TAG):
            key = run.data.tags[KEY_TAG]
            done = run.info.status in ("FINISHED", "FAILED")
            child = _Child(run.info.run_id, run.data.tags.get(RECORD_TAG), done)
            if key in found:
                keep, drop = (child, found[key]) if done and not found[key].done else (found[key], child)
                self._client.delete_run(drop.run_id)
                child = keep
            elif run.data.tags.get(PARENT_TAG) != self._parent:
                self._client.set_tag(child.run_id, PARENT_TAG, self._parent)
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
