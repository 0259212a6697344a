"""The desk in a small process of its own on a cluster, as its driver sees it."""

import logging
import math
import time
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.sweep.drive.desk import Desk, News, Packed
from mica.sweep.drive.executor import Need
from mica.sweep.drive.ray_cluster import room
from mica.sweep.drive.ray_neighbours import NAMESPACE, waiting_neighbours
from mica.sweep.drive.ray_nodes import draining_nodes, kill

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3.0
"""Between two looks at what happens on the cluster: nodes that go, other sweeps that wait."""


class RemoteDesk:
    """On the driver's node: it must outlive any other."""

    def __init__(self, attempts: int, stall: float, need: Need) -> None:
        """`need`: what each of its lanes gets."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._kind, self._need = "gpu" if need["gpu"] else "cpu", need
        self._name = f"{self._kind}-{uuid4().hex}"
        options = {"num_cpus": 0, "scheduling_strategy": here, "name": self._name, "namespace": NAMESPACE}
        self.actor = ray.remote(Desk).options(**options).remote(attempts, stall)
        self._draining: set[str] = set()
        self._limit: int | None = None
        self._looked = time.monotonic()

    def add(self, trials: list[Packed]) -> None:
        self.actor.add.remote(trials)

    def close(self) -> None:
        self.actor.close.remote()

    def stop(self) -> None:
        self.actor.stop.remote()

    def died(self, lane: int, reason: str) -> None:
        self.actor.died.remote(lane, reason)

    def news(self) -> News:
        """As the desk's; kills the workers that it gave up, and tells it what happens on the cluster."""
        found: News = ray.get(self.actor.news.remote())
        for stalled in found.stalled:
            kill(stalled.place)
        if time.monotonic() > self._looked + _LOOK_SECONDS:
            self._tell_draining()
            self._share()
            self._looked = time.monotonic()
        return found

    def _tell_draining(self) -> None:
        if (draining := draining_nodes()) != self._draining:
            self._draining = draining
            self.actor.drain.remote(draining)
            log.info("nodes that will be gone soon: %s", ", ".join(draining) or "none")

    def _share(self) -> None:
        """Leave the other sweeps their part of the cluster, as long as they have use for it."""
        others = waiting_neighbours(self._kind, but=self._name)
        limit = max(1, math.ceil(room(self._need) / (1 + others))) if others else None
        if limit != self._limit:
            self._limit = limit
            self.actor.allow.remote(limit)
            log.info("lanes while other sweeps wait: %s", limit or "any number")
