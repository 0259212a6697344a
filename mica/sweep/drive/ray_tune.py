"""Runs a sweep in lanes: Ray Tune trials that live long and each run one trial of ours after another.

Tune places the lanes, and starts those again whose worker died. A lane takes its trials from a desk, so that
a trial costs no process and none of Tune's bookkeeping, and no lane waits for the driver. Trials that train
on GPUs and trials that only make masks have a desk and lanes each.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError

from mica.errors import SweepIncomplete
from mica.sweep.drive.clerk import Clerk
from mica.sweep.drive.executor import Job, Share, check_precision
from mica.sweep.drive.lane import Lane
from mica.sweep.drive.progress import Running
from mica.sweep.drive.ray_cluster import Connection, check, room, shares
from mica.sweep.drive.ray_desk import RemoteDesk
from mica.sweep.drive.ray_lanes import Lanes, Line, Scheduler, Stop, reason_of
from mica.sweep.drive.scratch import scratch_folder
from mica.sweep.drive.source import Part, Source, any_trial
from mica.sweep.drive.stopping import Stopping
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)

_WORKER_DEATHS = 2
"""How often a trial whose worker died (out of memory, node lost) starts again."""
_DESKS = 5
"""How many desks may die before the sweep stops."""
_TUNE_SECONDS = 15.0
"""How long Tune may take to end its lanes once a sweep has to stop."""


class RayTune:
    """The executor on a Ray cluster that is connected to."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self._job, self._connection = job, connection
        self._data: dict[str, ray.ObjectRef] = {}
        self._shares = [Share({"cpu": 1, "gpu": 0}, any_trial)]

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
        ending, told = _Ending(stopping), _Told(source, hear, progress)
        try:
            self._connection.call(lambda: self._run(told, stopping, ending), ending.look)
        except SweepIncomplete as error:
            stopping.stop(error)

    def _check(self, trials: Collection[TrialSpec]) -> None:
        # As found once, whatever nodes are lost later.
        self._shares = shares(self._job.resources, trials)
        check_precision(trials, self._shares[0].need)
        wait = self._connection.grows and self._job.times.nodes > 0
        self._data = check(trials, self._job.sources, [share.need for share in self._shares], wait=wait)

    def _run(self, told: "_Told", stopping: Stopping, ending: "_Ending") -> None:
        again: list[TrialSpec] = []
        for _ in range(_DESKS):
            clerks: list[Clerk] = []
            try:
                with ExitStack() as opened:
                    scratch = opened.enter_context(scratch_folder())
                    lines = []
                    for share in self._shares:
                        desk = RemoteDesk(1 + _WORKER_DEATHS, self._job.times.stall, share.need)
                        clerks.append(self._clerk(share, desk, told, stopping, again))
                        most = None if self._connection.grows else room(share.need)
                        lines.append(Line(share.need, desk, opened.enter_context(clerks[-1]), most))
                    ending.lines = lines
                    self._tuner(lines, scratch).fit()
                return
            except RayActorError as error:
                log.warning("the sweep's desk died, another takes its place: %s", reason_of(str(error)))
                again = [spec for clerk in clerks for spec in clerk.left]
            except RayError as error:
                reason = str(error).strip().partition("\n")[0]
                stopping.stop(SweepIncomplete(f"Ray failed ({reason}); the same line again goes on"))
                return
        stopping.stop(SweepIncomplete("the sweep's desk died again and again; the same line again goes on"))

    def _clerk(
        self, share: Share, desk: RemoteDesk, told: "_Told", stopping: Stopping, again: Sequence[TrialSpec]
    ) -> Clerk:
        return Clerk(
            desk,
            Part(told.source, share.wanted, told.lock),
            self._job,
            told.hear,
            stopping,
            told.progress_of(share),
            device="GPU" if share.need["gpu"] else "cpu",  # which of the GPUs it was died with the worker
            lanes=room(share.need),
            again=filter(share.wanted, again),
        )

    def _tuner(self, lines: Sequence[Line], scratch: str) -> tune.Tuner:
        job = self._job
        shared = {
            "desks": [line.desk.actor for line in lines],
            "needs": [dict(line.need) for line in lines],
            "sweep": job.sweep,
            "store": job.store,
            "data": self._data,
            "times": job.times,
        }

        def resources(config: dict[str, int]) -> tune.PlacementGroupFactory:
            need = lines[config["line"]].need
            return tune.PlacementGroupFactory([{kind.upper(): some for kind, some in need.items() if some}])

        return tune.Tuner(
            tune.with_resources(tune.with_parameters(Lane, **shared), resources),
            tune_config=tune.TuneConfig(search_alg=Lanes(lines), scheduler=Scheduler(lines), num_samples=-1),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                stop=Stop(lines),
                # The desk counts what a trial of ours has done to its workers.
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )


class _Told:
    """Where trials come from and who hears of them, one thread at a time."""

    def __init__(
        self,
        source: Source,
        hear: Callable[[Record], None],
        progress: Callable[[list[Running]], None],
    ) -> None:
        self.source, self.lock = source, threading.RLock()
        self._hear, self._progress = hear, progress
        self._running: dict[int, list[Running]] = {}

    def hear(self, record: Record) -> None:
        with self.lock:
            self._hear(record)

    def progress_of(self, share: Share) -> Callable[[list[Running]], None]:
        """Tells what runs of all shares when one of them tells of its own."""

        def tell(running: list[Running]) -> None:
            with self.lock:
                self._running[id(share)] = running
                self._progress([each for part in self._running.values() for each in part])

        return tell


class _Ending:
    """Gives Tune up that does not end although its sweep has to stop: a lane may hang."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self.lines: Sequence[Line] = ()
        self._since: float | None = None

    def look(self) -> None:
        """Raises `SweepIncomplete`."""
        over = bool(self.lines) and all(line.course.over for line in self.lines)
        if not over or self._stopping.reason is None:
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _TUNE_SECONDS:
            raise SweepIncomplete(f"{self._stopping.reason}; a worker had to be left behind")
