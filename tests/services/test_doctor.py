"""`mica-sweep doctor` against real clusters, whose nodes have faults of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.ray_nodes import ROOT, Nodes, ray_nodes
from tests.services.processes import free_port
from tests.sweep.store.places import careless_server, environment

TOKEN = "0123456789abcdef0123456789abcdef"
SWEEP = """
name: examined
data: {{name: parquet, train: {data}/train.parquet, test: {data}/test.parquet}}
models: own_net:net
methods: [rpi-erk, mica-erk]
seeds: [0]
ratios: [10]
protocol: {{epochs: 1}}
storage: {storage}
"""
OWN = """
import only_here
import torch

def net(input_shape, classes):
    features = input_shape[0] * input_shape[1] * input_shape[2]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(features, classes))
"""
AHEAD = "import time; right = time.time; time.time = lambda: right() + 600"
"""Python's clock on a node: libfaketime would keep Ray's own processes from starting."""


@dataclass(frozen=True)
class Answer:
    code: int
    findings: list[dict[str, Any]]

    def faults(self, host: str = "") -> list[str]:
        """What is bad, of one node if asked."""
        return [
            f"{each['what']}: {each['said']}"
            for each in self.findings
            if each["level"] == "bad" and host in each["said"]
        ]


@dataclass(frozen=True)
class Bench:
    """A sweep, and the folders that its nodes look into."""

    folder: Path
    nodes: Nodes

    def doctor(self, body: str = "", **changed: str) -> Answer:
        body = body or SWEEP.format(data=self.folder / "data", storage=self.folder / "store")
        body += "".join(f"{key}: {value}\n" for key, value in changed.items())
        (self.folder / "sweep.yaml").write_text(body)
        doctor = [sys.executable, "-m", "mica.cli", "doctor", "sweep.yaml", "--json"]
        found = subprocess.run(
            [*doctor, "--address", self.nodes.address],
            cwd=self.folder, env=self.nodes.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert found.returncode in (0, 1), found.stdout + found.stderr
        findings = json.loads(found.stdout)["findings"]
        return Answer(found.returncode, findings)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    for name in ("data", "store", "extra"):
        (folder / name).mkdir()
    source = Path(os.environ["MICA_DATA"], "cifar10")
    for part in ("train", "test"):
        _first_rows(source / f"{part}.parquet", folder / f"data/{part}.parquet", 300)
    (folder / "own_net.py").write_text(OWN)
    (folder / "extra/only_here.py").write_text("")
    with ray_nodes(TOKEN, environment={"PYTHONPATH": f"{ROOT}:{folder / 'extra'}"}) as nodes:
        yield Bench(folder, nodes)


def _first_rows(source: Path, target: Path, rows: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(source).slice(0, rows), target)


def _with_mount(mount: str) -> list[str]:
    """To start a node that sees the file system otherwise, and nobody else does."""
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]


def test_a_good_cluster_then_faults_on_each_of_its_nodes(bench: Bench) -> None:
    bench.nodes.add()
    answer = bench.doctor()
    assert answer.faults() == []
    assert answer.code == 0

    add, folder = bench.nodes.add, bench.folder
    (folder / "other-data").mkdir()
    for part in ("train", "test"):
        _first_rows(folder / f"data/{part}.parquet", folder / f"other-data/{part}.parquet", 200)
    (folder / "ahead").mkdir()
    (folder / "ahead/sitecustomize.py").write_text(AHEAD)
    store = folder / "store"
    ahead = {"PYTHONPATH": f"{ROOT}:{folder / 'extra'}:{folder / 'ahead'}"}
    other_mica = {"PYTHONPATH": f"{_other_mica(folder)}:{folder / 'extra'}"}
    other_data = _with_mount(f"mount --bind {folder}/other-data {folder}/data")
    faulty = {
        add("--num-gpus=4", environment=other_mica): ["versions: mica 9.", "declares 4, and torch can use 0"],
        add(environment={"PYTHONPATH": str(ROOT)}): ["No module named 'only_here'"],
        add(environment=ahead, before=other_data): ["clocks: ", "other content"],
        add(before=_with_mount(f"mount -t tmpfs none {folder}/data && mount -t tmpfs none {store}")): [
            "data: parquet",
            "storage: what",
        ],
        add(before=_with_mount(f"mount --bind {store} {store} && mount -o remount,bind,ro {store}")): [
            "cannot be written"
        ],
    }
    answer = bench.doctor(resources="{cpu: 1, gpu: 0.25}", mlflow="http://127.0.0.1:9")
    assert answer.code == 1
    for node, all_words in faulty.items():
        for words in all_words:
            assert any(words in line for line in answer.faults(node.host)), (words, answer.faults())
    assert any(line.startswith("MLflow: http://127.0.0.1:9 does not answer") for line in answer.faults())


def _other_mica(folder: Path) -> Path:
    other = folder / "other"
    shutil.copytree(ROOT / "mica", other / "mica", ignore=shutil.ignore_patterns("__pycache__"))
    init = other / "mica/__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "9.'))
    return other


def test_a_share_that_no_node_has(bench: Bench) -> None:
    faults = bench.doctor(resources="{cpu: 64, gpu: 0}").faults()
    assert any(line.startswith("room: a trial asks for 64 cpu; the largest node has") for line in faults)


def test_an_open_cluster_and_a_storage_that_lets_two_writers_win(bench: Bench) -> None:
    with careless_server() as endpoint, ray_nodes(environment=environment(endpoint)) as nodes:
        body = SWEEP.format(data=bench.folder / "data", storage="s3://bucket/sweep")
        answer = replace(bench, nodes=nodes).doctor(body.replace("own_net:net", "mlp"))
    assert answer.code == 1
    said = answer.faults()
    assert any("lets two writers create the same name" in line for line in said), said
    assert any(line.startswith("tokens: off") for line in said), said


def test_no_cluster_at_all(bench: Bench) -> None:
    nobody = replace(bench.nodes, port=free_port())
    (fault,) = replace(bench, nodes=nobody).doctor().faults()
    assert fault.startswith(f"Ray: no Ray cluster answers at {nobody.address} (Connection refused)")
