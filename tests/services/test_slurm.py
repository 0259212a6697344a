"""`cluster/slurm` on a real Slurm: two nodes on this machine, tasks requeued, a node downed in mid-sweep."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mica.sweep.store.records import Store
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import Watcher, judge, rows_of
from tests.ray_nodes import ROOT
from tests.services.altered import altered
from tests.services.slurm import Slurm, running_slurm

SEEDS, STEP_SECONDS = 2, 0.04
"""Fourteen trials of some seconds each."""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The table of the same sweep, run by one process."""
    file = write_sweep(tmp_path_factory.mktemp("undisturbed"), MLP, seeds=SEEDS, claim=5.0, checkpoint=0.5)
    found = subprocess.run(
        [sys.executable, "-m", "tests.undrawn", "run", "--here", str(file)],
        cwd=file.parent, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    return rows_of(file)


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """As in a shell with mica's virtual environment."""
    path = f"{Path(sys.executable).parent}:{base['PATH']}"
    return {**base, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def submitted(slurm: Slurm, script: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """The job, waited for; ends with the highest exit code of its tasks."""
    return subprocess.Popen(
        ["sbatch", "--wait", "--parsable", "--mem=2G", str(ROOT / "cluster/slurm" / script), "sweep.yaml"],
        cwd=folder, env={**environment(slurm.environment), **variables}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(what: str, seconds: float, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def logs(folder: Path) -> str:
    return "\n".join(
        f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(folder.glob("slurm-*.log"))
    )


def test_an_array_of_four_drivers_loses_nothing(
    slurm: Slurm, tmp_path: Path, undisturbed: dict[str, dict[str, object]]
) -> None:
    file = write_sweep(tmp_path, MLP, seeds=SEEDS, claim=5.0)
    store = Store(str(tmp_path / "results/chaos"))

    def records() -> int:
        return len(store.names())

    with Watcher(tmp_path / "results/chaos") as watcher:
        array = submitted(slurm, "array.sbatch", tmp_path, **altered(step_seconds=STEP_SECONDS))
        assert array.stdout is not None
        job = array.stdout.readline().strip()
        wait_for("the first records", 300, lambda: records() >= 2)
        slurm.call("scontrol", "requeue", f"{job}_2")
        wait_for("more records", 240, lambda: records() >= 5)
        slurm.call("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=pulled")
        wait_for("more records", 240, lambda: records() >= 8)
        slurm.call("scontrol", "update", "NodeName=n2", "State=RESUME")
        code = array.wait(900)
    assert code == 0, logs(tmp_path)
    verdict = judge(file, undisturbed, watcher, tmp_path / "none")
    assert verdict.good, verdict
    assert "interrupted: " in (tmp_path / f"slurm-{job}_2.log").read_text(), logs(tmp_path)


def test_one_ray_cluster_inside_a_job(
    slurm: Slurm, tmp_path: Path, undisturbed: dict[str, dict[str, object]]
) -> None:
    file = write_sweep(tmp_path, MLP, seeds=SEEDS, claim=5.0, checkpoint=0.5)
    job = submitted(slurm, "ray.sbatch", tmp_path)
    code = job.wait(900)
    assert code == 0, logs(tmp_path)
    assert rows_of(file) == undisturbed
