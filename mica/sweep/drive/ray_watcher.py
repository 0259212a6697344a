"""The driver's ear: hears how each trial of ours ends, and says when the sweep is over."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

log = logging.getLogger(__name__)

_SAME_BUG = 3
"""So many trials that fail with the same exception before any other outcome stop the sweep; so do as many in
a row whose records cannot be written."""
_IDLE_DEATHS = 10
"""So many workers in a row that die before they take a trial stop the sweep."""
UNSAVED = "unsaved"
"""What a trial is whose record could not be written: one that is missing still."""


@dataclass(frozen=True)
class Ended:
    """How one trial ended, as the driver hears of it."""

    key: str
    outcome: str
    """Of its record; or `unsaved`."""
    error: str | None
    """Last line of a failed trial's traceback, or why its worker is gone."""


class Watcher(tune.Stopper):  # type: ignore[misc]
    """Hears of every trial that ends, tells the caller, and says when the sweep is over.

    A stopper, because Tune imports MLflow as soon as it is given a callback.
    """

    def __init__(
        self, queue: Any, trials: int, on_end: Callable[[Ended], None], alive: Callable[[], bool]
    ) -> None:
        self._queue, self._trials, self._on_end, self._alive = queue, trials, on_end, alive
        self.reason: str | None = None
        """Why the sweep must stop early."""
        self._heard: set[str] = set()
        self._first: list[Ended] = []
        self._idle_deaths = self._unsaved = 0

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it into a snapshot that nothing reads; a progress bar cannot be pickled."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._idle_deaths = 0
        for ended in result["ended"]:
            self._tell(ended)
        return False

    def stop_all(self) -> bool:
        return len(self._heard) == self._trials or self.reason is not None or not self._alive()

    def lane_died(self, lane: int, reason: str) -> None:
        """A lane's worker died; Tune starts another."""
        log.warning("a worker died, another takes its place: %s", reason)
        try:
            died = ray.get(self._queue.died.remote(lane))
        except RayActorError:
            self.reason = "the sweep's queue died; the same line again goes on"
            return
        if died is None:
            self._idle_deaths += 1
            if self._idle_deaths == _IDLE_DEATHS:
                self.reason = f"workers cannot start: {reason}"
        elif died[1]:
            self._tell(Ended(died[0], "failed", reason))

    def _tell(self, ended: Ended) -> None:
        if ended.key in self._heard:  # its lane died just after it had told
            return
        self._heard.add(ended.key)
        if ended.outcome == UNSAVED:
            log.warning("trial %s has no record, for it cannot be written: %s", ended.key, ended.error)
            self._unsaved += 1
            if self._unsaved == _SAME_BUG:
                self.reason = f"records cannot be written: {ended.error}; the same line again goes on"
            return
        self._unsaved = 0
        self._note(ended)
        try:
            self._on_end(ended)
        except OSError as error:  # a record that is not safe now is missing, and the next run's to make
            log.warning("trial %s: %s", ended.key, error)

    def _note(self, ended: Ended) -> None:
        """One bad trial among good ones stops nothing; the first ones all failing alike do."""
        if len(self._first) < _SAME_BUG:
            self._first.append(ended)
            errors = {item.error for item in self._first}
            if len(self._first) == _SAME_BUG and len(errors) == 1 and ended.error:
                self.reason = f"the first {_SAME_BUG} trials all failed alike: {ended.error}"


class Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's own order; passes on that a lane's worker died."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        # Not `trial.get_error`: it looks in a storage that has no copy yet.
        errors = Path(trial.error_file).read_text() if trial.error_file else ""
        reason = (errors.strip().splitlines() or ["the worker died"])[-1]
        # Ray goes on about what it might have been.
        self._watcher.lane_died(trial.config["lane"], reason.partition(" Some common causes")[0])
