"""The desk in a small process of its own on a cluster, as its driver sees it."""

import logging
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.sweep.drive.desk import Desk, News, Packed
from mica.sweep.drive.ray_nodes import draining_nodes, kill

log = logging.getLogger(__name__)

_DRAINING_SECONDS = 3.0
"""Between two questions which nodes will be gone soon."""


class RemoteDesk:
    """On the driver's node: it must outlive any other."""

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
