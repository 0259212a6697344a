"""A sweep on clusters of several nodes: jobs with tokens, nodes that come later, made-up GPUs."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos.ray_rounds import end, find, start
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import rows_of
from tests.ray_nodes import ROOT, Nodes, ray_nodes
from tests.services.altered import altered
from tests.services.processes import free_port

TOKEN = "0123456789abcdef0123456789abcdef"


def rows_alone(folder: Path, body: str) -> Mapping[str, Mapping[str, object]]:
    """Of a sweep of one seed, run by one process without Ray."""
    file = write_sweep(folder, body, seeds=1)
    here = [sys.executable, "-m", "tests.undrawn", "run", "--here", str(file)]
    subprocess.run(here, cwd=ROOT, check=True, capture_output=True)
    return rows_of(file)


def run(nodes: Nodes, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=dict(nodes.environment), capture_output=True, text=True, timeout=900
    )


def test_a_job_submitted_to_a_cluster_with_tokens(tmp_path: Path) -> None:
    """The driver runs on the head; without the token nobody gets in."""
    file = write_sweep(tmp_path, MLP, seeds=1)
    port = free_port()
    with ray_nodes(TOKEN, ("--include-dashboard=true", f"--dashboard-port={port}")) as nodes:
        nodes.add()
        place = f"http://127.0.0.1:{port}"
        _wait_for(place)
        line = f"{sys.executable} -m mica.cli run {file} --address auto"
        submit = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", place, "--"]
        found = run(nodes, tmp_path, *submit, *line.split())
        assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{place}/api/jobs/", timeout=10)
        stranger = subprocess.run(
            [*submit, "true"], capture_output=True, text=True, cwd=tmp_path,
            env={**nodes.environment, "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""},
        )  # fmt: skip
        assert stranger.returncode != 0 and "token authentication is enabled" in stranger.stderr
    assert rows_of(file) == rows_alone(tmp_path / "alone", MLP)


def _wait_for(place: str) -> None:
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(place, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"nothing answers at {place}")


MIXED = """\
grids:
  - models: {name: mlp, hidden: [16, 16]}
    ratios: [4, 30]
    methods: [rpi-erk, mica-erk]
    protocol: {epochs: 12, batch_size: 16, lr: 0.05, augment: none}
  - {models: vgg11, ratios: [10, 100, 1000], methods: [mica-igq, mica-erk, rpi-igq], protocol: {epochs: 0}}
resources: {cpu: 0.25, gpu: 0.25}
"""


def test_made_up_gpus_are_filled_and_a_node_without_makes_the_masks(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, MIXED)
    with ray_nodes(environment={**altered(step_seconds=0.04), "GPUS_MADE_UP": "yes"}) as nodes:
        with_gpu, without = nodes.add("--num-gpus=1"), nodes.add()
        driver = start(tmp_path, "--address", nodes.address)
        most = {with_gpu.host: 0, without.host: 0}
        while driver.poll() is None:
            for node in (with_gpu, without):
                most[node.host] = max(most[node.host], len(find(node.process.pid)))
            time.sleep(0.1)
        output = (tmp_path / "output.txt").read_text()
    assert driver.returncode == 0, output
    assert most[with_gpu.host] >= 4, "four trials share the GPU"
    assert most[without.host] >= 1
    assert len(rows_of(file)) == 3 * (4 + 9)


def test_nodes_come_later_and_a_sweep_that_starts_later_gets_its_part(tmp_path: Path) -> None:
    """The first waits for them and has work for minutes; the second is through long before it."""
    for name, seeds in (("first", 100), ("second", 1)):
        write_sweep(tmp_path / name, MLP, seeds=seeds)
    file = tmp_path / "first/sweep.yaml"
    with ray_nodes(environment=altered(step_seconds=0.01)) as nodes:
        line = [sys.executable, "-m", "tests.undrawn", "run", "sweep.yaml", "--address", nodes.address]
        refused = run(nodes, file.parent, *line)
        assert refused.returncode == 2
        assert "the largest node has 0 cpu" in refused.stderr and "times: {nodes: 1800}" in refused.stderr

        file.write_text(file.read_text().replace("times: {", "times: {nodes: 100, "))
        first = start(file.parent, "--address", nodes.address)
        time.sleep(12)
        assert first.poll() is None, (file.parent / "output.txt").read_text()
        joined = [nodes.add(), nodes.add()]
        until = time.monotonic() + 240  # the chaos suite asks for 10; here others are at work too
        while not all(find(node.process.pid) for node in joined):
            assert first.poll() is None, (file.parent / "output.txt").read_text()
            assert time.monotonic() < until, "a node that joined is not used"
            time.sleep(0.1)

        second = start(tmp_path / "second", "--address", nodes.address)
        end(second, 200)
        assert second.returncode == 0 and first.poll() is None
        first.terminate()
        end(first, 60)
    rows = rows_of(tmp_path / "second/sweep.yaml")
    assert len(rows) == 7 and rows == rows_alone(tmp_path / "alone", MLP)
