"""All Ray code: trials of a sweep as Ray Tune trials, on a laptop or a cluster, in reused actors."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial

from mica.data import Dataset, Source
from mica.errors import SweepStopped, UserError
from mica.sweep.spec import Resources
from mica.sweep.store import Store
from mica.trial import TrialSpec

log = logging.getLogger(__name__)

_SAME_BUG = 3
"""So many trials that fail with the same exception before any other outcome stop the sweep."""
_WORKER_DEATHS = 2
"""How often a trial whose worker died (out of memory, node lost) starts again."""


@dataclass(frozen=True)
class Work:
    """What a sweep still has to run, and with what."""

    sweep: str
    trials: Mapping[str, TrialSpec]
    """Key → trial, in the order in which to start them."""
    sources: Mapping[str, Source]
    """Data set's label → where it is."""
    store: Store
    resources: Resources


@dataclass(frozen=True)
class Ended:
    """How one trial ended, as the driver hears of it."""

    key: str
    outcome: str
    error: str | None
    """Last line of a failed trial's traceback, or why its worker is gone."""


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Connect to a Ray cluster: the address, else $RAY_ADDRESS, else a new one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with it, Tune prints a banner even when told to be silent
    # Tune's own snapshot of all trials grows with the grid, and only the store counts.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    ray.init(
        address=address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **({"include_dashboard": False} if address == "local" else {}),
    )
    try:
        yield
    finally:
        ray.shutdown()


def check(work: Work) -> dict[str, ray.ObjectRef]:
    """Everything that can be known to fail before the first trial starts; loads the data on the way.

    Returns:
        Data set's label → the decoded data set in Ray's shared memory, once a node.

    Raises:
        UserError: no node has the resources of a trial; data cannot be read; a network cannot be built or
            traced. All of these are reported together.
    """
    faults = []
    need = _resources(work.resources)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(kind.upper(), 0) >= amount for kind, amount in need.items()) for node in nodes):
        largest = {kind: max(node.get(kind.upper(), 0) for node in nodes) for kind in need}
        have = ", ".join(f"{amount:g} {kind}" for kind, amount in largest.items())
        wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in need.items())
        faults.append(f"resources: a trial asks for {wanted}; the largest node has {have}")
    data: dict[str, ray.ObjectRef] = {}
    load, find_faults = (ray.remote(function).options(num_cpus=0) for function in (_load, _faults))
    used = {spec.data.label for spec in work.trials.values()}
    for label, source in work.sources.items():
        if label not in used:
            continue
        data[label] = load.remote(source)
        # One trial of each kind: networks and splits do not depend on method, ratio or seed.
        kinds = {
            (spec.model.label, spec.protocol): spec
            for spec in work.trials.values()
            if spec.data.label == label
        }
        try:
            faults += ray.get(find_faults.remote(data[label], list(kinds.values()), sys.path))
        except RayTaskError as error:
            if not isinstance(error.cause, UserError):
                raise
            faults.append(str(error.cause))
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
    return data


def run_all(
    work: Work,
    data: Mapping[str, ray.ObjectRef],
    on_end: Callable[[Ended], None],
    alive: Callable[[], bool],
) -> None:
    """Run every trial; `on_end` hears of each as it ends. Once `alive` says no, the sweep stops.

    Raises:
        SweepStopped: the first trials all failed with the same exception, or `alive` said no.
    """
    need = _resources(work.resources)
    watcher = _Watcher(on_end, alive)
    actor = tune.with_parameters(_TrialActor, work=work, data=dict(data), need=need, path=sys.path)
    with tempfile.TemporaryDirectory(prefix="mica-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(actor, need),
            param_space={"key": tune.grid_search(list(work.trials))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[watcher],
                stop=watcher.stopper,
                failure_config=tune.FailureConfig(max_failures=_WORKER_DEATHS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if watcher.stopper.same_bug:
        raise SweepStopped(f"the first {_SAME_BUG} trials all failed alike: {watcher.stopper.same_bug}")
    if not alive():
        raise SweepStopped("another driver has taken this storage over")


class _TrialActor(tune.Trainable):  # type: ignore[misc]
    """Runs trial after trial in one process; nothing but the loaded data outlives a trial."""

    def setup(
        self,
        config: dict[str, Any],
        work: Work,
        data: dict[str, ray.ObjectRef],
        need: dict[str, float],
        path: list[str],
    ) -> None:
        # The driver's path, so that a user's own `package.module:function` is found here too.
        sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
        import torch

        torch.set_num_threads(max(1, int(need["cpu"])))
        self.work, self.data = work, data
        self.device = "cuda" if need["gpu"] else "cpu"
        if 0 < need["gpu"] < 1:
            torch.cuda.set_per_process_memory_fraction(need["gpu"])

    def step(self) -> dict[str, Any]:
        from mica.sweep.worker import run_and_store

        key = self.config["key"]
        spec = self.work.trials[key]
        record = run_and_store(
            key,
            self.work.sweep,
            spec,
            self.work.store,
            load=lambda: ray.get(self.data[spec.data.label]),
            device=self.device,
        )
        error = record.error.strip().splitlines()[-1] if record.error else None
        return {"done": True, "key": key, "outcome": record.outcome, "error": error}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """Stops a sweep whose first trials all fail alike; one bad trial among good ones stops nothing."""

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive
        self.same_bug: str | None = None
        self._first: list[Ended] = []

    def note(self, ended: Ended) -> None:
        if len(self._first) < _SAME_BUG:
            self._first.append(ended)
            errors = {item.error for item in self._first}
            if len(self._first) == _SAME_BUG and len(errors) == 1:
                self.same_bug = self._first[0].error

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.same_bug is not None or not self._alive()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it into a snapshot that nothing reads; the lease's thread cannot be pickled."""
        return {}


class _Watcher(tune.Callback):  # type: ignore[misc]
    """Tells the caller of every trial that ends. Whatever goes wrong there must not end the sweep."""

    def __init__(self, on_end: Callable[[Ended], None], alive: Callable[[], bool]) -> None:
        self.stopper = _Stopper(alive)
        self._on_end = on_end

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a snapshot that nothing reads; a progress bar cannot be pickled."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._tell(Ended(result["key"], result["outcome"], result["error"]))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called when Tune gives a trial up: its worker died once too often."""
        reason = str(trial.get_error() or "the worker died").strip().splitlines()[-1]
        self._tell(Ended(trial.config["key"], "failed", reason))

    def _tell(self, ended: Ended) -> None:
        self.stopper.note(ended)
        try:
            self._on_end(ended)
        except OSError as error:  # the record is safe; only its line on the screen is late
            log.warning("trial %s: %s", ended.key, error)


def _resources(resources: Resources) -> dict[str, float]:
    gpu = resources.gpu
    if gpu == "auto":
        gpu = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
    return {"cpu": resources.cpu, "gpu": gpu}


def _load(source: Source) -> Dataset:
    return source.load()


def _faults(dataset: Dataset, specs: list[TrialSpec], path: list[str]) -> list[str]:
    """Build and trace each network, and cut each split, once."""
    sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
    from mica.trial.runner import check_fits

    return [fault for spec in specs for fault in check_fits(spec, dataset)]
