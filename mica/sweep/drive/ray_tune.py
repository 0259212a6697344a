"""Runs a sweep in lanes: Ray Tune trials that live long and each run one trial of ours after another.

Tune places the lanes, and starts those again whose worker died. A lane takes its trials from a desk, so that
a trial costs no process and none of Tune's bookkeeping, and no lane waits for the driver.
"""

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.errors import SweepIncomplete
from mica.sweep.drive.clerk import Clerk, Course
from mica.sweep.drive.desk import Desk, News, Packed
from mica.sweep.drive.executor import Job, Need
from mica.sweep.drive.lane import Lane
from mica.sweep.drive.progress import Running
from mica.sweep.drive.ray_cluster import Connection, check, need_of, room
from mica.sweep.drive.ray_nodes import draining_nodes, kill
from mica.sweep.drive.scratch import scratch_folder
from mica.sweep.drive.source import Source
from mica.sweep.drive.stopping import Stopping
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

_WORKER_DEATHS = 2
"""How often a trial whose worker died (out of memory, node lost) starts again."""
_DESKS = 5
"""How many desks may die before the sweep stops."""
_DRAINING_SECONDS = 3.0
"""Between two questions which nodes will be gone soon."""
_TUNE_SECONDS = 15.0
"""How long Tune may take to end its lanes once a sweep has to stop."""
_LEFT_SECONDS = 1.0
"""For so long after a lane has left, what is known of the lanes' number may still count it."""


class RayTune:
    """The executor on a Ray cluster that is connected to."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self._job, self._connection = job, connection
        self._data: dict[str, ray.ObjectRef] = {}
        self._need: Need = {"cpu": 1, "gpu": 0}

    def check(self, trials: Collection[TrialSpec]) -> None:
        """See `Executor`."""
        self._connection.call(lambda: self._check(trials))

    def run(
        self,
        source: Source,
        hear: Callable[[Record], None],
        stopping: Stopping,
        progress: Callable[[list[Running]], None] = lambda running: None,
    ) -> None:
        """See `Executor`."""
        ending = _Ending(stopping)
        try:
            self._connection.call(lambda: self._run(source, hear, stopping, progress, ending), ending.look)
        except SweepIncomplete as error:
            stopping.stop(error)

    def _check(self, trials: Collection[TrialSpec]) -> None:
        # As found once, whatever nodes are lost later.
        self._need = need_of(self._job.resources, trials)
        wait = self._connection.grows and self._job.times.nodes > 0
        self._data = check(trials, self._job.sources, self._need, wait=wait)

    def _run(
        self,
        source: Source,
        hear: Callable[[Record], None],
        stopping: Stopping,
        progress: Callable[[list[Running]], None],
        ending: "_Ending",
    ) -> None:
        device = "GPU" if self._need["gpu"] else "cpu"  # which of the GPUs it was died with the worker
        again: list[TrialSpec] = []
        for _ in range(_DESKS):
            desk, lanes = _RemoteDesk(1 + _WORKER_DEATHS, self._job.times.stall), room(self._need)
            clerk = Clerk(
                desk, source, self._job, hear, stopping, progress, device=device, lanes=lanes, again=again
            )
            try:
                with clerk as course, scratch_folder() as scratch:
                    ending.course = course
                    self._tuner(desk, course, None if self._connection.grows else lanes, scratch).fit()
                return
            except RayActorError as error:
                log.warning("the sweep's desk died, another takes its place: %s", _reason(str(error)))
                again = clerk.left
            except RayError as error:
                reason = str(error).strip().partition("\n")[0]
                stopping.stop(SweepIncomplete(f"Ray failed ({reason}); the same line again goes on"))
                return
        stopping.stop(SweepIncomplete("the sweep's desk died again and again; the same line again goes on"))

    def _tuner(self, desk: "_RemoteDesk", course: Course, most: int | None, scratch: str) -> tune.Tuner:
        job, need = self._job, dict(self._need)
        shared = {
            "desk": desk.actor,
            "sweep": job.sweep,
            "store": job.store,
            "data": self._data,
            "times": job.times,
        }
        return tune.Tuner(
            tune.with_resources(tune.with_parameters(Lane, need=need, **shared), need),
            tune_config=tune.TuneConfig(
                search_alg=_Lanes(course, most), scheduler=_Scheduler(desk), num_samples=-1
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                stop=_Stop(course),
                # The desk counts what a trial of ours has done to its workers.
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )


class _Ending:
    """Gives Tune up that does not end although its sweep has to stop: a lane may hang."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self.course = Course()
        self._since: float | None = None

    def look(self) -> None:
        """Raises `SweepIncomplete`."""
        if not self.course.over or self._stopping.reason is None:
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _TUNE_SECONDS:
            raise SweepIncomplete(f"{self._stopping.reason}; a worker had to be left behind")


class _RemoteDesk:
    """The desk in a small process of its own, on the driver's node: it must outlive any other."""

    def __init__(self, attempts: int, stall: float) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.actor = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote(attempts, stall)
        self._draining: set[str] = set()
        self._asked = time.monotonic()

    def add(self, trials: list[Packed]) -> None:
        self.actor.add.remote(trials)

    def close(self) -> None:
        self.actor.close.remote()

    def stop(self) -> None:
        self.actor.stop.remote()

    def died(self, lane: int, reason: str) -> None:
        self.actor.died.remote(lane, reason)

    def news(self) -> News:
        """As the desk's; kills the workers that it gave up, and tells it which nodes will be gone soon."""
        found: News = ray.get(self.actor.news.remote())
        for stalled in found.stalled:
            kill(stalled.place)
        if time.monotonic() > self._asked + _DRAINING_SECONDS:
            self._tell_draining()
        return found

    def _tell_draining(self) -> None:
        if (draining := draining_nodes()) != self._draining:
            self._draining = draining
            self.actor.drain.remote(draining)
            log.info("nodes that will be gone soon: %s", ", ".join(draining) or "none")
        self._asked = time.monotonic()


class _Lanes(Searcher):  # type: ignore[misc]
    """Gives Tune its trials: one lane more, as long as one may be of use when there is room for it."""

    def __init__(self, course: Course, most: int | None) -> None:
        """`most`: as many lanes as there will ever be room for; None: nobody knows."""
        super().__init__()
        self._course, self._most, self._number = course, most, 0
        self._gone, self._left = 0, -_LEFT_SECONDS

    def suggest(self, trial_id: str) -> dict[str, int] | str | None:
        """The next lane; None: not now."""
        lanes = min(self._course.lanes, self._most or self._course.lanes)
        if self._course.over:
            return str(Searcher.FINISHED)
        # A trial that is handed back may need a new lane though all trials had been given out.
        if self._number - self._gone >= lanes or time.monotonic() < self._left + _LEFT_SECONDS:
            return None
        self._number += 1
        return {"lane": self._number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A lane has left."""
        self._gone, self._left = self._gone + 1, time.monotonic()

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshot serves nobody: only the store counts."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's own order; passes on that a lane's worker died."""

    def __init__(self, desk: _RemoteDesk) -> None:
        super().__init__()
        self._desk = desk

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        # Not `trial.get_error`: it looks in a storage that has no copy yet.
        errors = Path(trial.error_file).read_text() if trial.error_file else ""
        self._desk.died(trial.config["lane"], _reason(errors))


class _Stop(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's loop when the sweep is over."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._course.over


def _reason(error: str) -> str:
    """Why an actor died: Ray says it last, and goes on about what it might have been."""
    last = (error.strip().splitlines() or ["nobody knows why"])[-1]
    return last.partition(" Some common causes")[0]
