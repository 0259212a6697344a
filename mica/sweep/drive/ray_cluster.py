"""The cluster that a sweep runs on: connecting to it, what fits on it, whether the sweep can run there."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
from ray.exceptions import RayTaskError, RuntimeEnvSetupError

from mica.data import Dataset, DataSource
from mica.errors import UserError
from mica.sweep.drive.executor import Need, need_among, one_of_each_kind
from mica.sweep.plan.spec import Resources
from mica.trial import TrialSpec

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # with it, Tune prints a banner even when told to be silent
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # one line of ours says as much
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own snapshot serves nobody: only the store counts
    "TUNE_MAX_PENDING_TRIALS_PG": "100",  # lanes that wait for room; a cluster that scales itself sees them
}
"""Defaults for what the user has not set."""


@contextmanager
def cluster(address: str | None = None, modules: Sequence[str] = ()) -> Iterator[bool]:
    """Connect to a Ray cluster: the address, else $RAY_ADDRESS, else a new one on this machine.

    Every worker can import the `modules`, which are files of modules and folders of packages.

    Yields whether nodes may join it.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({"include_dashboard": False} if address == "local" else {}),
            **({"runtime_env": {"py_modules": list(modules)}} if modules else {}),
        )
    except RuntimeEnvSetupError as error:
        raise UserError(f"your own modules {', '.join(modules)} cannot be passed on: {error}") from error
    try:
        yield address != "local"
    finally:
        ray.shutdown()


def need_of(resources: Resources, trials: Iterable[TrialSpec]) -> Need:
    """What each of these trials gets on this cluster."""
    return need_among(resources, trials, ray.cluster_resources().get("GPU", 0))


def room(need: Need) -> int:
    """How many trials fit on the cluster's nodes at a time."""
    return sum(
        min(int(node.get(kind.upper(), 0) / amount) for kind, amount in need.items() if amount)
        for node in _nodes()
    )


def check(
    trials: Collection[TrialSpec], sources: Mapping[str, DataSource], need: Need
) -> dict[str, ray.ObjectRef]:
    """See `Executor.check`; returns data set's label → the decoded data set in Ray's memory, once a node."""
    load, find_faults = (ray.remote(function).options(num_cpus=0) for function in (_load, _faults))
    kinds = one_of_each_kind(trials)
    data: dict[str, ray.ObjectRef] = {}
    found: list[ray.ObjectRef] = []
    for label in dict.fromkeys(spec.data.label for spec in kinds):
        data[label] = load.remote(sources[label])
        found.append(find_faults.remote(data[label], [spec for spec in kinds if spec.data.label == label]))
    faults = _lacking(need)
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


def _faults(dataset: Dataset, specs: list[TrialSpec]) -> list[str]:
    """Build and trace each network, and cut each split, once."""
    from mica.trial.prepare import check_fits

    return [fault for spec in specs for fault in check_fits(spec, dataset)]
