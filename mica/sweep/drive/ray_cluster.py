"""The cluster that a sweep runs on: connecting to it, what fits on it, whether the sweep can run there."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import ray
from ray.exceptions import RayTaskError

from mica.data import Dataset, DataSource
from mica.errors import UserError
from mica.sweep.plan.spec import Resources
from mica.trial import TrialSpec

Need = Mapping[str, float]
"""What one trial gets: `cpu` and `gpu`."""


@contextmanager
def cluster(address: str | None = None) -> Iterator[bool]:
    """Connect to a Ray cluster: the address, else $RAY_ADDRESS, else a new one on this machine.

    Yields whether nodes may join it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with it, Tune prints a banner even when told to be silent
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # one line of ours says as much
    # Tune's own snapshot of its trials serves nobody: only the store counts.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    ray.init(
        address=address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **({"include_dashboard": False} if address == "local" else {}),
    )
    try:
        yield address != "local"
    finally:
        ray.shutdown()


def need_of(resources: Resources, trials: Iterable[TrialSpec]) -> Need:
    """What each of these trials gets on this cluster."""
    return need_among(resources, trials, ray.cluster_resources().get("GPU", 0))


def need_among(resources: Resources, trials: Iterable[TrialSpec], gpus: float) -> Need:
    """What each of these trials gets of a cluster with so many GPUs.

    `gpu: auto` is one GPU where there are any and something trains. Masks alone need none: as many are
    made at a time as there are cores.
    """
    gpu = resources.gpu
    if gpu == "auto":
        gpu = 1.0 if gpus and any(spec.protocol.epochs for spec in trials) else 0.0
    return {"cpu": resources.cpu, "gpu": gpu}


def room(need: Need) -> int:
    """How many trials fit on the cluster's nodes at a time."""
    return sum(
        min(int(node.get(kind.upper(), 0) / amount) for kind, amount in need.items() if amount)
        for node in _nodes()
    )


def check(
    trials: Mapping[str, TrialSpec], sources: Mapping[str, DataSource], resources: Resources
) -> dict[str, ray.ObjectRef]:
    """Everything that can be known to fail before the first trial starts; loads the data on the way.

    Args:
        trials: what is to run.
        sources: data set's label → where it is.
        resources: of one trial.

    Returns:
        Data set's label → the decoded data set in Ray's shared memory, once a node.

    Raises:
        UserError: no node has the resources of a trial; data cannot be read; a network cannot be built or
            traced. All of these are reported together.
    """
    load, find_faults = (ray.remote(function).options(num_cpus=0) for function in (_load, _faults))
    # One trial of each kind: networks and splits do not depend on method, ratio or seed.
    kinds = {(spec.data.label, spec.model.label, spec.protocol): spec for spec in trials.values()}
    data: dict[str, ray.ObjectRef] = {}
    found: list[ray.ObjectRef] = []
    for label in dict.fromkeys(label for label, _, _ in kinds):
        data[label] = load.remote(sources[label])
        specs = [spec for spec in kinds.values() if spec.data.label == label]
        found.append(find_faults.remote(data[label], specs, sys.path))
    faults = _lacking(need_of(resources, trials.values()))
    for answer in found:
        try:
            faults += ray.get(answer)
        except RayTaskError as error:
            if not isinstance(error.cause, UserError):
                raise
            faults.append(str(error.cause))
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
    return data


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _lacking(need: Need) -> list[str]:
    """The fault that no node has the resources of a trial."""
    if room(need):
        return []
    largest = {kind: max(node.get(kind.upper(), 0) for node in _nodes()) for kind in need}
    have, wanted = (
        ", ".join(f"{amount:g} {kind}" for kind, amount in amounts.items()) for amounts in (largest, need)
    )
    return [f"resources: a trial asks for {wanted}; the largest node has {have}"]


def _load(source: DataSource) -> Dataset:
    return source.load()


def _faults(dataset: Dataset, specs: list[TrialSpec], path: list[str]) -> list[str]:
    """Build and trace each network, and cut each split, once."""
    sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
    from mica.trial.prepare import check_fits

    return [fault for spec in specs for fault in check_fits(spec, dataset)]
