"""One sweep in MLflow: an experiment and a parent run, and below it a child run a trial.

A child is found by its tag `mica.trial_key`. It counts as done when its status is final and its tag
`mica.record` is the digest of the record that is to be shown. All that a child holds is written under
its record's own times, so writing it again changes nothing: what a crash cut off is completed in place.

Several processes may do all this at the same moment. Nothing in MLflow keeps two of them from making a
run for the same trial, so each looks again before it ends (`unite`): of a trial's runs the one with the
smallest id stays, whoever looks.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mica.sweep.track import fields
from mica.sweep.track.client import BATCH, client_of, experiment_id, tagged_runs
from mica.trial.record import Record

KEY_TAG, SWEEP_TAG, RECORD_TAG = "mica.trial_key", "mica.sweep", "mica.record"
PARENT_TAG, _OUTCOME_TAG = "mica.parent", "outcome"
_OUR_TAGS = (KEY_TAG, SWEEP_TAG, RECORD_TAG, PARENT_TAG, _OUTCOME_TAG)


class _Run(NamedTuple):
    """What we need to know of a run of ours; a run as MLflow gives it holds all its numbers."""

    run_id: str
    start: int
    status: str
    tags: dict[str, str]


@dataclass
class _Child:
    run_id: str
    digest: str | None
    outcome: str | None
    done: bool


class Experiment:
    """One sweep's experiment, parent run and child runs; every method may raise what MLflow raises."""

    def __init__(self, uri: str, sweep: str) -> None:
        """Connect, and find or make experiment and parent run."""
        self._client, self._sweep = client_of(uri), sweep
        self._id = experiment_id(self._client, uri, sweep)
        self.unite()
        self._client.update_run(self._parent, status="RUNNING")

    def answers(self) -> bool:
        """Whether MLflow does at all."""
        try:
            self._client.get_experiment(self._id)
        except Exception:
            return False
        return True

    def unite(self) -> None:
        """Look at what is there; leave one parent, and one run a trial, of what several processes made."""
        self._parent = self._one_parent()
        self._children = self._find_children()

    def shows(self, key: str, outcome: str | None = None, digest: str | None = None) -> bool:
        """Whether there is a trial's finished run; one with this outcome and this record's digest."""
        child = self._children.get(key)
        return (
            child is not None
            and child.done
            and fields.current(child.digest)
            and outcome in (None, child.outcome)
            and digest in (None, child.digest)
        )

    def show(self, key: str, record: Record) -> bool:
        """Make a trial's child run what its record says; False when it is so already."""
        digest = fields.digest(record)
        if self.shows(key, digest=digest):
            return False
        child = self._children.get(key)
        if child is not None and child.digest != digest:  # a failed trial that was run again, say
            self._client.delete_run(child.run_id)
            child = None
        if child is None:
            child = self._children[key] = self._new_child(key, digest, record)
        try:
            self._fill(child.run_id, record)
        except Exception:
            # Another process may have made a run for it too, and have deleted ours.
            other = self._find_children(key).get(key)
            if other is None or other.run_id == child.run_id or other.digest != digest:
                raise
            child = self._children[key] = other
            self._fill(child.run_id, record)
        child.done = True
        return True

    def finish(self, status: Literal["FINISHED", "KILLED"], told: Collection[str]) -> None:
        """End the parent run, and runs of trials that nobody tells of, which a crash left unfinished."""
        for key, child in self._children.items():
            if not child.done and key not in told:
                self._client.set_terminated(child.run_id, "KILLED")
        self._client.set_terminated(self._parent, status)

    def _new_child(self, key: str, digest: str, record: Record) -> _Child:
        run = self._client.create_run(
            self._id,
            start_time=fields.started(record),
            tags={KEY_TAG: key, RECORD_TAG: digest, PARENT_TAG: self._parent, **fields.tags(record)},
            run_name=record.spec.cell,
        )
        return _Child(run.info.run_id, digest, record.outcome, done=False)

    def _fill(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(key, value) for key, value in fields.params(record.spec).items()]
        metrics = [Metric(*point) for point in fields.metrics(record)]
        for start in range(0, max(len(metrics), 1), BATCH):
            self._client.log_batch(run_id, metrics[start : start + BATCH], () if start else params)
        if record.layers:
            self._client.log_text(run_id, fields.layers_csv(record.layers), "layers.csv")
        # Last: only now does the child count as done.
        status = "FAILED" if record.outcome == "failed" else "FINISHED"
        self._client.set_terminated(run_id, status, end_time=fields.ended(record))

    def _one_parent(self) -> str:
        """The oldest; the others are deleted, for processes that began together have made one each."""
        if not (parents := self._parents()):
            self._client.create_run(self._id, tags={SWEEP_TAG: self._sweep}, run_name=self._sweep)
            parents = self._parents()
        for other in parents[1:]:
            self._client.delete_run(other)
        return parents[0]

    def _parents(self) -> list[str]:
        return [run.run_id for run in sorted(self._runs(SWEEP_TAG), key=lambda run: (run.start, run.run_id))]

    def _find_children(self, key: str = "%") -> dict[str, _Child]:
        """By trial key, all below our parent, one a trial; of all trials or of one.

        Which one of several stays must not depend on who looks, nor on when.
        """
        found: dict[str, _Child] = {}
        for run in sorted(self._runs(KEY_TAG, key), key=lambda run: run.run_id):
            tags = run.tags
            if tags[KEY_TAG] in found:
                self._client.delete_run(run.run_id)
                continue
            if tags.get(PARENT_TAG) != self._parent:
                with suppress(Exception):  # another process may just have deleted it
                    self._client.set_tag(run.run_id, PARENT_TAG, self._parent)
            done = run.status in ("FINISHED", "FAILED")
            found[tags[KEY_TAG]] = _Child(run.run_id, tags.get(RECORD_TAG), tags.get(_OUTCOME_TAG), done)
        return found

    def _runs(self, tag: str, value: str = "%") -> list[_Run]:
        return [
            _Run(
                run.info.run_id,
                run.info.start_time,
                run.info.status,
                {name: run.data.tags[name] for name in _OUR_TAGS if name in run.data.tags},
            )
            for run in tagged_runs(self._client, self._id, tag, value)
        ]
