"""Runs a sweep in lanes: Ray Tune trials that live long and each run one trial of ours after another.

Tune places the lanes, and starts those again whose worker died. A lane takes its trials from a desk, so that
a trial costs no process and none of Tune's bookkeeping, and no lane waits for the driver.
"""

import pickle
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.sweep.drive.clerk import Clerk, Course
from mica.sweep.drive.desk import Desk, Ended, News, Packed
from mica.sweep.drive.executor import Job, Need, device_of, threads_of
from mica.sweep.drive.ray_cluster import check, need_of, room
from mica.sweep.drive.source import Source
from mica.sweep.drive.stopping import Stopping
from mica.sweep.store.records import Store
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

_WORKER_DEATHS = 2
"""How often a trial whose worker died (out of memory, node lost) starts again."""
_IDLE_SECONDS = (0.02, 1.0)
"""How long a lane that finds nothing waits before it asks again: at first, and at most."""


class RayTune:
    """The executor on a Ray cluster that is connected to."""

    def __init__(self, job: Job, *, grows: bool) -> None:
        """`grows`: whether nodes may join the cluster."""
        self._job, self._grows = job, grows
        self._data: dict[str, ray.ObjectRef] = {}
        self._need: Need = {"cpu": 1, "gpu": 0}

    def check(self, trials: Collection[TrialSpec]) -> None:
        """See `Executor`."""
        # As found once, whatever nodes are lost later.
        self._need = need_of(self._job.resources, trials)
        self._data = check(trials, self._job.sources, self._need)

    def run(self, source: Source, hear: Callable[[Record], None], stopping: Stopping) -> None:
        """See `Executor`."""
        desk, lanes = _RemoteDesk(attempts=1 + _WORKER_DEATHS), room(self._need)
        device = "GPU" if self._need["gpu"] else "cpu"  # which of the GPUs it was died with the worker
        clerk = Clerk(desk, source, self._job, hear, stopping, device=device, lanes=lanes)
        try:
            with clerk as course, tempfile.TemporaryDirectory(prefix="mica-tune-") as scratch:
                self._tuner(desk, course, None if self._grows else lanes, scratch).fit()
        except RayActorError:
            stopping.stop("the sweep's desk died; the same line again goes on")

    def _tuner(self, desk: "_RemoteDesk", course: Course, most: int | None, scratch: str) -> tune.Tuner:
        job, need = self._job, dict(self._need)
        shared = {
            "desk": desk.actor,
            "sweep": job.sweep,
            "store": job.store,
            "data": self._data,
            "checkpoint_seconds": job.times.checkpoint,
        }
        return tune.Tuner(
            tune.with_resources(tune.with_parameters(_Lane, need=need, **shared), need),
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


class _RemoteDesk:
    """The desk in a small process of its own, on the driver's node: it must outlive any other."""

    def __init__(self, attempts: int) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.actor = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote(attempts)

    def add(self, trials: list[Packed]) -> None:
        self.actor.add.remote(trials)

    def close(self) -> None:
        self.actor.close.remote()

    def clear(self) -> None:
        self.actor.clear.remote()

    def died(self, lane: int, reason: str) -> None:
        self.actor.died.remote(lane, reason)

    def news(self) -> News:
        found: News = ray.get(self.actor.news.remote())
        return found


class _Lanes(Searcher):  # type: ignore[misc]
    """Gives Tune its trials: one lane more, as long as one may be of use when there is room for it."""

    def __init__(self, course: Course, most: int | None) -> None:
        """`most`: as many lanes as there will ever be room for; None: nobody knows."""
        super().__init__()
        self._course, self._most, self._number = course, most, 0

    def suggest(self, trial_id: str) -> dict[str, int] | str | None:
        """The next lane; None: not now."""
        lanes = min(self._course.lanes, self._most or self._course.lanes)
        if self._course.over or (self._course.dry and self._number >= lanes):
            return str(Searcher.FINISHED)
        if self._number >= lanes:
            return None
        self._number += 1
        return {"lane": self._number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """A lane has left."""

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
        reason = (errors.strip().splitlines() or ["nobody knows why"])[-1]
        # Ray goes on about what it might have been.
        self._desk.died(trial.config["lane"], reason.partition(" Some common causes")[0])


class _Stop(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's loop when the sweep is over."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._course.over


class _Lane(tune.Trainable):  # type: ignore[misc]
    """Runs trial after trial in one process; nothing but the loaded data outlives a trial."""

    def setup(
        self,
        config: dict[str, Any],
        desk: Any,
        sweep: str,
        store: Store,
        data: dict[str, ray.ObjectRef],
        need: Need,
        checkpoint_seconds: float,
    ) -> None:
        import torch

        from mica.trial.device import checked_device

        torch.set_num_threads(threads_of(need))
        self.desk, self.sweep, self.store, self.data = desk, sweep, store, data
        self.checkpoint_seconds = checkpoint_seconds
        # A broken GPU must not be handed trial after trial.
        self.device = checked_device(device_of(need))
        if 0 < need["gpu"] < 1:
            torch.cuda.set_per_process_memory_fraction(need["gpu"])
        self.worker = ray.get(desk.enter.remote(config["lane"]))

    def step(self) -> dict[str, Any]:
        """A lane's whole life: the trials that it is given, until it may leave."""
        ended, pause = None, _IDLE_SECONDS[0]
        while (answer := ray.get(self.desk.take.remote(self.worker, ended))) != "leave":
            if answer == "wait":
                ended, pause = None, min(2 * pause, _IDLE_SECONDS[1])
                time.sleep(pause)
            else:
                ended, pause = self._run(*answer), _IDLE_SECONDS[0]
        return {"done": True}

    def _run(self, key: str, packed: bytes) -> Ended:
        from mica.sweep.drive.worker import run_and_store

        spec: TrialSpec = pickle.loads(packed)
        try:
            run_and_store(
                spec,
                self.sweep,
                self.store,
                load=lambda: ray.get(self.data[spec.data.label]),
                device=self.device,
                checkpoint_seconds=self.checkpoint_seconds,
            )
        except OSError as error:  # the storage's: a full disk, say
            return Ended(key, "unsaved", str(error))
        return Ended(key, "stored")
