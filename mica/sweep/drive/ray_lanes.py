"""What Ray Tune asks: whether to start another lane, what to do when one dies, when to end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from mica.sweep.drive.clerk import Course
from mica.sweep.drive.executor import Need
from mica.sweep.drive.ray_desk import RemoteDesk

_LEFT_SECONDS = 1.0
"""For so long after a lane has left, what is known of the lanes' number may still count it."""


@dataclass
class Line:
    """The lanes of one desk, which all get the same."""

    need: Need
    desk: RemoteDesk
    course: Course
    most: int | None
    """As many of them as there will ever be room for; None: nobody knows."""
    started: int = 0
    gone: int = 0
    left: float = -_LEFT_SECONDS
    """When one has left last."""

    @property
    def wants_another(self) -> bool:
        """Whether one lane more may be of use when there is room for it."""
        lanes = min(self.course.lanes, self.most or self.course.lanes)
        # A trial that is handed back may need a new lane though all trials had been given out.
        settled = time.monotonic() >= self.left + _LEFT_SECONDS
        return not self.course.over and self.started - self.gone < lanes and settled


class Lanes(Searcher):  # type: ignore[misc]
    """Gives Tune its trials: one lane more, as long as one may be of use."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines, self._number = lines, 0
        self._line_of: dict[str, Line] = {}

    def suggest(self, trial_id: str) -> dict[str, int] | str | None:
        """The next lane; None: not now."""
        if all(line.course.over for line in self._lines):
            return str(Searcher.FINISHED)
        for index, line in enumerate(self._lines):
            if line.wants_another:
                self._number += 1
                line.started += 1
                self._line_of[trial_id] = line
                return {"lane": self._number, "line": index}
        return None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A lane has left."""
        line = self._line_of.pop(trial_id)
        line.gone, line.left = line.gone + 1, time.monotonic()

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshot serves nobody: only the store counts."""


class Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's own order; passes on that a lane's worker died."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines = lines

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        # Not `trial.get_error`: it looks in a storage that has no copy yet.
        errors = Path(trial.error_file).read_text() if trial.error_file else ""
        self._lines[trial.config["line"]].desk.died(trial.config["lane"], reason_of(errors))


class Stop(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's loop when the sweep is over, or what it stands on has broken."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        courses = [line.course for line in self._lines]
        return all(course.over for course in courses) or any(course.broken for course in courses)


def reason_of(error: str) -> str:
    """Why an actor died: Ray says it last, and goes on about what it might have been."""
    last = (error.strip().splitlines() or ["nobody knows why"])[-1]
    return last.partition(" Some common causes")[0]
