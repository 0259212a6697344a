"""Rounds on a cluster of several nodes: one is killed, one is drained and taken away, one joins."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mica.sweep.store.records import Store
from tests.chaos.drivers import Stage
from tests.chaos.ray_rounds import end, find, start
from tests.chaos.scene import CLAIM, Outcome, Scene, done, finish
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import Watcher, judge
from tests.ray_nodes import Node, Nodes, ray_nodes

_USED_SECONDS = 60.0
"""Within so long a node that has joined runs trials; within 10, where it has a core of its own."""
_DRAIN_SECONDS = 30
"""Between the warning that a node goes, and its end."""


def nodes_round(scene: Scene) -> Outcome:
    """A head without work, a node, a driver; then six times another joins, and one of the two goes."""
    draw, events = random.Random(scene.seed), Counter[str]()
    options = {"claim": CLAIM, "checkpoint": 0.5, "seeds": 5}
    body = MLP.replace("epochs: 12", "epochs: 300")
    expected, faults = scene.expect(body, options), list[str]()
    file = write_sweep(scene.folder, body, **options)
    with Watcher(scene.folder / "results/chaos") as watcher, ray_nodes() as nodes:
        nodes.add()
        driver = start(scene.folder, "--address", nodes.address)
        for kind in draw.sample(["node killed", "node drained"] * 3, 6):
            if done(file, expected) or not _wait_for_trials(driver, nodes):
                break
            time.sleep(draw.uniform(0.2, 3))
            joined = nodes.add()
            events["node added"] += 1
            began = time.monotonic()
            if _used(joined):
                print(f"a node that joined runs trials after {time.monotonic() - began:.1f} s")
            elif not done(file, expected):
                faults.append(f"a node that joined was not used within {_USED_SECONDS:.0f} s")
            time.sleep(draw.uniform(0.2, 2))
            going = draw.choice([node for node in nodes.nodes[1:] if node.process.poll() is None])
            if kind == "node drained":
                _drain(nodes, going)
                if not _idle(going):
                    faults.append("a node that was drained still ran trials at its end")
            going.kill()
            events[kind] += 1
        end(driver, 300)
        if driver.returncode != 0:
            faults.append(f"the driver ended with {driver.returncode}")
    if failures := Store(str(scene.folder / "results/chaos")).failures():
        faults.append(f"{len(failures)} trials were blamed for what happened to their nodes")
    with Stage(scene.folder, scene.zygotes, fault=scene.fault) as stage:
        finish(stage, 240)
    verdict = judge(file, expected, watcher, stage.diary)
    verdict.faults += faults
    return Outcome(events, verdict)


def _wait_for_trials(driver: subprocess.Popen[bytes], nodes: Nodes) -> bool:
    """False: the driver has ended."""
    while driver.poll() is None:
        if any(map(_runs_trials, nodes.nodes)):
            return True
        time.sleep(0.1)
    return False


def _runs_trials(node: Node) -> bool:
    return node.process.poll() is None and bool(find(node.process.pid))


def _used(node: Node) -> bool:
    return _within(_USED_SECONDS, lambda: _runs_trials(node))


def _idle(node: Node) -> bool:
    return _within(_DRAIN_SECONDS, lambda: not _runs_trials(node))


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _drain(nodes: Nodes, node: Node) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("ray"), "drain-node", "--address", nodes.address,
         "--node-id", nodes.id_of(node), "--reason", "DRAIN_NODE_REASON_PREEMPTION",
         "--reason-message", "chaos", "--deadline-remaining-seconds", str(_DRAIN_SECONDS)],
        check=True, capture_output=True, env=dict(nodes.environment),
    )  # fmt: skip
