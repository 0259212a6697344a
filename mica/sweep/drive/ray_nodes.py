"""A cluster's nodes while a sweep runs: which will be gone soon, and how to end a process on one."""

import logging
import os
import signal
from contextlib import suppress

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.sweep.drive.progress import Place

log = logging.getLogger(__name__)


def draining_nodes() -> set[str]:
    """Nodes that are being drained, as by `ray drain-node` or before a spot machine is taken away.

    Ray has no public way to ask; where its own has changed there are none.
    """
    try:
        from ray._private.state import state

        return set(state.get_draining_nodes())
    except Exception as error:
        log.info("this Ray does not say which nodes are draining: %s", error)
        return set()


def kill(place: Place) -> None:
    """End a worker's process, even one that is stopped or hangs; returns at once."""
    there = NodeAffinitySchedulingStrategy(place.node, soft=False)
    ray.remote(_kill).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(place.pid)


def here() -> Place:
    """Where this process is."""
    return Place(os.uname().nodename, ray.get_runtime_context().get_node_id(), os.getpid())


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
