"""The cluster that a sweep runs on: connecting to it, what fits on it, whether the sweep can run there."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import ray
from ray.exceptions import RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.data import Dataset, DataSource
from mica.errors import UserError
from mica.sweep.drive.children import Process, descendants, end
from mica.sweep.drive.executor import Need, Share, fitting, one_of_each_kind, shares_of
from mica.sweep.drive.ray_health import Health, check_reachable, unreachable
from mica.sweep.drive.ray_thread import RayThread
from mica.sweep.drive.signals import hear_again, put_off
from mica.sweep.plan.spec import Resources
from mica.trial import TrialSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

_ENVIRONMENT = {
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a thread that still calls Ray after its end starts another
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # with it, Tune prints a banner even when told to be silent
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # one line of ours says as much
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own snapshot serves nobody: only the store counts
    "TUNE_MAX_PENDING_TRIALS_PG": "100",  # lanes that wait for room; a cluster that scales itself sees them
}
"""Defaults for what the user has not set."""


_START_SECONDS = 180.0
"""How long Ray may take to start, or to let this process in."""
_TOKEN_HINT = "if it asks for a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
"""For a cluster that is there, and does not let this process in."""
_END_SECONDS = 8.0
"""How long Ray may take to end in order."""
_SILENCE_SECONDS = {True: 3.0, False: 15.0}
"""How long Ray may not answer on this machine alone (True), and over a network."""


@dataclass(frozen=True)
class Connection:
    """A Ray cluster that this process is connected to."""

    grows: bool
    """Whether nodes may join it."""
    thread: RayThread
    health: Health

    def call(self, what: Callable[[], T], look: Callable[[], None] = lambda: None) -> T:
        """What `what` returns, done in Ray's thread; raises `SweepIncomplete` once Ray has died."""

        def look_twice() -> None:
            look()
            self.health.look()

        return self.thread.call(what, look_twice)


@contextmanager
def cluster(address: str | None = None, modules: Sequence[str] = ()) -> Iterator[Connection]:
    """Connect to a Ray cluster: the address, else $RAY_ADDRESS, else a new one on this machine.

    Every worker can import the `modules`, which are files of modules and folders of packages.

    Raises:
        UserError: nobody answers at the address; the modules cannot be passed on.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        check_reachable(address)
    before, thread = descendants(), RayThread()
    try:
        yield _connected(thread, address, modules)
    finally:
        _disconnect(thread, before)


def _connected(thread: RayThread, address: str, modules: Sequence[str]) -> Connection:
    local = address == "local"
    try:
        with put_off():
            try:
                places = thread.call(lambda: _connect(address, modules), hear_again, _START_SECONDS)
            finally:
                hear_again()
    except RuntimeEnvSetupError as error:
        raise UserError(f"your own modules {', '.join(modules)} cannot be passed on: {error}") from error
    except Exception as error:
        # Ray says so by a bare `Exception` when its own node takes half a minute, as on a very busy machine.
        expected = isinstance(error, TimeoutError | ConnectionError) or type(error) is Exception
        if not expected and "ersion mismatch" not in str(error):
            raise
        why = " ".join(str(error).split()) or f"not within {_START_SECONDS:.0f} seconds"
        if local:
            raise UserError(f"Ray does not start: {why}") from error
        raise unreachable(address, f"{why}; {_TOKEN_HINT}") from error
    return Connection(not local, thread, Health(places, _SILENCE_SECONDS[local]))


def _connect(address: str, modules: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Returns where those of Ray's processes listen without which this one can do nothing."""
    _hush()
    ray.init(
        address=address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **({"include_dashboard": False} if address == "local" else {}),
        **({"runtime_env": {"py_modules": list(modules)}} if modules else {}),
    )
    places: dict[str, tuple[str, int]] = {}
    # Not so in every version, nor through a Ray client.
    with suppress(Exception):
        context = ray.get_runtime_context()
        host, _, port = context.gcs_address.rpartition(":")
        places["control service"] = (host, int(port))
        node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        places["raylet"] = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
    return places


def _hush() -> None:
    """Keep Ray from printing what only those who ask want to see, and from ending this process in its way.

    It prints a dead process's last lines; and its own handler of SIGTERM, which it installs as it connects,
    aborts this process with a native trace, so that the signal has to wait until ours is back.
    """
    with suppress(Exception):
        from ray._private import worker

        if hasattr(worker, "connect") and not hasattr(worker.connect, "__wrapped__"):
            worker.connect = put_off()(worker.connect)
        if hasattr(worker, "print_to_stdstream"):
            worker.print_to_stdstream = lambda data, **_: log.info("Ray: %s", "".join(data["lines"]))
    logging.getLogger("ray").setLevel(logging.ERROR)


def _disconnect(thread: RayThread, before: list[Process]) -> None:
    """End Ray in order where it still answers; what is left of it on this machine ends in any case."""
    ours = [process for process in descendants() if process not in before]
    try:
        with suppress(Exception):
            if thread.free:
                thread.call(ray.shutdown, hear_again, _END_SECONDS)
    finally:
        end(ours)
        thread.end()


def shares(resources: Resources, trials: Collection[TrialSpec]) -> list[Share]:
    """What each of these trials gets on this cluster."""
    return shares_of(resources, trials, ray.cluster_resources().get("GPU", 0))


def room(need: Need) -> int:
    """How many trials fit on the cluster's nodes at a time."""
    return sum(fitting(node, need) for node in _nodes())


def check(
    trials: Collection[TrialSpec],
    sources: Mapping[str, DataSource],
    needs: Sequence[Need],
    *,
    wait: bool = False,
) -> dict[str, ray.ObjectRef]:
    """See `Executor.check`; returns data set's label → the decoded data set in Ray's memory, once a node.

    It is decoded where it was found, on the driver's node; each other node that runs trials fetches it once.
    `wait`: nodes that have room for a trial may come later.
    """
    near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    load, find_faults = (
        ray.remote(function).options(num_cpus=0, scheduling_strategy=near) for function in (_load, _faults)
    )
    kinds = one_of_each_kind(trials)
    data: dict[str, ray.ObjectRef] = {}
    found: list[ray.ObjectRef] = []
    for label in dict.fromkeys(spec.data.label for spec in kinds):
        data[label] = load.remote(sources[label])
        found.append(find_faults.remote(data[label], [spec for spec in kinds if spec.data.label == label]))
    faults = [] if wait else [fault for need in needs for fault in _lacking(need)]
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


def gpu_bytes(trials: Collection[TrialSpec], data: Mapping[str, ray.ObjectRef]) -> int:
    """About what the largest of the trials takes of a GPU's memory."""
    measure = ray.remote(_gpu_bytes).options(num_cpus=0)
    kinds = [spec for spec in one_of_each_kind(trials) if spec.protocol.epochs]
    return max(ray.get([measure.remote(data[spec.data.label], spec) for spec in kinds]), default=0)


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
    return [
        f"resources: a trial asks for {wanted}; the largest node has {have} (where nodes join when they are "
        "asked for, `times: {nodes: 1800}` waits for them)"
    ]


def _load(source: DataSource) -> Dataset:
    return source.load()


def _faults(dataset: Dataset, specs: list[TrialSpec]) -> list[str]:
    """Build and trace each network, and cut each split, once."""
    from mica.trial.prepare import check_fits

    return [fault for spec in specs for fault in check_fits(spec, dataset)]


def _gpu_bytes(dataset: Dataset, spec: TrialSpec) -> int:
    from mica.trial.memory import training_bytes

    return training_bytes(spec, dataset)
