"""A cluster whose nodes come and go while a sweep runs, and know nothing of the user's code."""

import contextlib
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mica.sweep.drive.ray_nodes import draining_nodes
from tests.ray_nodes import Nodes, ray_nodes
from tests.sweep import user_models
from tests.sweep.sample import records_of, write


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    """One node; its processes look for modules in none of the user's folders."""
    with ray_nodes(cpus=1) as nodes:
        yield nodes


def wait_for(what: Callable[[], bool], seconds: float) -> float:
    """How long it took until it was so."""
    begin = time.monotonic()
    while not what():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)
    return time.monotonic() - begin


def test_a_node_that_joins_is_used_and_what_ran_on_a_lost_one_runs_elsewhere(
    cluster: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    package = mine / "package_of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    user_models.write(package)
    seeds = str(list(range(40)))
    lines = {"methods": "rpi-erk", "ratios": "4", "seeds": seeds, "protocol": "{epochs: 0}"}
    path = write(
        mine, models="package_of_mine.models_of_mine:lasting", storage=str(tmp_path / "results"), **lines
    )

    def processes() -> list[int]:
        """Those that trials ran in, one a trial that began."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (package / "processes").read_text().split()]
        return []

    command = [sys.executable, "-m", "mica.cli", "run", str(path), "--address", cluster.address]
    log = tmp_path / "log"
    # Ray tells its workers of the folder that its driver is in: not that of the user's code.
    with open(log, "w") as file, subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file) as driver:
        wait_for(lambda: len(processes()) >= 2 or driver.poll() is not None, 120)
        assert driver.poll() is None, log.read_text()
        node = cluster.add()
        took = wait_for(lambda: len(set(processes())) == 2, 60)
        with capsys.disabled():
            print(f"\na node that joined ran its first trial after {took:.1f} s")
        node.kill()
        assert driver.wait(240) == 0, log.read_text()
    records = records_of(tmp_path / "results")
    assert {item.record.spec.seed for item in records.values()} == set(range(40))
    assert {item.record.outcome for item in records.values()} == {"completed"}
    assert 40 <= len(processes()) <= 41, "only the trial that ran on the lost node ran again"


def test_ray_says_which_nodes_are_draining(cluster: Nodes) -> None:
    node = cluster.id_of(cluster.add())
    ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        assert draining_nodes() == set()

        # A node with nothing to do would be gone at once.
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        busy = ray.remote(Counter).options(num_cpus=1, scheduling_strategy=there).remote()
        ray.get(busy.total.remote())
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        until = int((time.time() + 600) * 1000)
        assert GcsClient(address=cluster.address).drain_node(node, reason, "", until)[0]
        wait_for(lambda: draining_nodes() == {node}, 10)
    finally:
        ray.shutdown()
