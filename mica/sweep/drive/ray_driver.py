"""Runs a sweep in lanes: Ray Tune trials that live long and each run one trial of ours after another.

Tune places the lanes, and starts those again whose worker died. A lane takes its trials from a queue of
the sweep, so that a trial costs no process and none of Tune's bookkeeping, and no lane waits for the driver.
"""

import logging
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.errors import SweepStopped
from mica.sweep.drive.ray_cluster import Need, need_of, room
from mica.sweep.drive.ray_watcher import UNSAVED, Ended, Scheduler, Watcher
from mica.sweep.drive.trial_queue import TrialQueue
from mica.sweep.plan.spec import Resources
from mica.sweep.store.records import Store
from mica.trial import TrialSpec

log = logging.getLogger(__name__)

_WORKER_DEATHS = 2
"""How often a trial whose worker died (out of memory, node lost) starts again."""
_SPARE_LANES = 200
"""Lanes beyond what fits at first, for the nodes that may join a cluster later."""
_REPORT_SECONDS = 0.5
"""How long a lane runs mask-only trials before it tells the driver of them."""


@dataclass(frozen=True)
class Work:
    """What a sweep still has to run, and with what."""

    sweep: str
    trials: Mapping[str, TrialSpec]
    """Key → trial, in the order in which to start them."""
    data: Mapping[str, ray.ObjectRef]
    """Data set's label → the decoded data set."""
    store: Store
    resources: Resources
    grows: bool
    """Whether nodes may join the cluster."""

    @cached_property
    def need(self) -> Need:
        """What each trial gets: as found once, whatever nodes are lost later."""
        return need_of(self.resources, self.trials.values())


def run_all(work: Work, on_end: Callable[[Ended], None], alive: Callable[[], bool]) -> None:
    """Run every trial; `on_end` hears of each as it ends. Once `alive` says no, the sweep stops.

    Raises:
        SweepStopped: the first trials all failed with the same exception, workers cannot start, or `alive`
            said no.
    """
    queue = _start_queue(work.trials)
    watcher = Watcher(queue, len(work.trials), on_end, alive)
    lane = tune.with_parameters(
        _Lane,
        queue=queue,
        sweep=work.sweep,
        store=work.store,
        data=dict(work.data),
        need=work.need,
        path=sys.path,
    )
    lanes = min(len(work.trials), room(work.need) + (_SPARE_LANES if work.grows else 0))
    with tempfile.TemporaryDirectory(prefix="mica-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(lane, dict(work.need)),
            param_space={"lane": tune.grid_search(list(range(lanes)))},
            tune_config=tune.TuneConfig(scheduler=Scheduler(watcher)),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                stop=watcher,
                # The queue counts what a trial of ours has done to its workers.
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if watcher.reason:
        raise SweepStopped(watcher.reason)
    if not alive():
        raise SweepStopped("another driver has taken this storage over")


def _start_queue(trials: Mapping[str, TrialSpec]) -> Any:
    """The queue in a small process of its own, on the driver's node: it must outlive any other."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    packed = [(key, pickle.dumps(spec)) for key, spec in trials.items()]
    actor = ray.remote(TrialQueue).options(num_cpus=0, scheduling_strategy=here)
    return actor.remote(packed, attempts=1 + _WORKER_DEATHS)


class _Lane(tune.Trainable):  # type: ignore[misc]
    """Runs trial after trial in one process; nothing but the loaded data outlives a trial."""

    def setup(
        self,
        config: dict[str, Any],
        queue: Any,
        sweep: str,
        store: Store,
        data: dict[str, ray.ObjectRef],
        need: Need,
        path: list[str],
    ) -> None:
        # The driver's path, so that a user's own `package.module:function` is found here too.
        sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
        import torch

        from mica.trial.device import checked_device

        torch.set_num_threads(max(1, int(need["cpu"])))
        self.lane, self.queue, self.sweep, self.store, self.data = config["lane"], queue, sweep, store, data
        # A broken GPU must not be handed trial after trial.
        self.device = checked_device("cuda" if need["gpu"] else "cpu")
        if 0 < need["gpu"] < 1:
            torch.cuda.set_per_process_memory_fraction(need["gpu"])

    def step(self) -> dict[str, Any]:
        """Run a trial that trains, or mask-only ones for a while; the last step finds the queue empty."""
        ended: list[Ended] = []
        begin = time.monotonic()
        while taken := ray.get(self.queue.take.remote(self.lane, heard=not ended)):
            key, spec = taken[0], pickle.loads(taken[1])
            ended.append(self._run(key, spec))
            late = time.monotonic() - begin > _REPORT_SECONDS
            if spec.protocol.epochs or late or ended[-1].error:
                break
        return {"ended": ended, "done": taken is None}

    def _run(self, key: str, spec: TrialSpec) -> Ended:
        from mica.sweep.drive.worker import run_and_store

        try:
            record = run_and_store(
                key,
                self.sweep,
                spec,
                self.store,
                load=lambda: ray.get(self.data[spec.data.label]),
                device=self.device,
            )
        except OSError as reason:  # the storage's: a full disk, say
            return Ended(key, UNSAVED, str(reason))
        error = record.error.strip().splitlines()[-1] if record.error else None
        return Ended(key, record.outcome, error)
