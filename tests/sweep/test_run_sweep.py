"""Whole sweeps on a real Ray cluster: what is missing runs, once, and gives what a single process gives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest
from click.testing import CliRunner, Result

from mica.cli import main
from mica.sweep.store import Store, Stored
from mica.trial import run
from tests.sweep import ray_cluster, user_models
from tests.sweep.sample import SWEEP, write
from tests.trial.sample import without_provenance


def sweep(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def records(folder: Path) -> dict[str, Stored]:
    return Store(str(folder)).load()


def outcomes(folder: Path) -> Counter[str]:
    return Counter(item.record.outcome for item in records(folder).values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a sweep that has run from start to end, with MLflow, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    path = write(folder, storage=str(folder / "results"), mlflow="true")
    return folder, sweep("run", path, "--address", ray_cluster.address())


def test_a_sweep_runs_to_its_end(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert result.exit_code == 0, result.output
    assert "tiny: 8 trials, 0 done, 8 to run" in result.output
    assert all(f"{number}/8  synthetic" in result.output for number in range(1, 9))
    assert outcomes(folder / "results") == {"completed": 4, "collapsed": 4}


def test_every_record_is_what_one_process_gives_provenance_aside(finished: tuple[Path, Result]) -> None:
    for item in records(finished[0] / "results").values():
        assert without_provenance(item.record) == without_provenance(run(item.record.spec))


def test_tables_and_figures_lie_beside_the_records(finished: tuple[Path, Result]) -> None:
    results = finished[0] / "results"
    trials = pd.read_parquet(results / "tables" / "trials.parquet")
    assert set(trials["trial_key"]) == set(records(results))
    assert list((results / "figures").glob("*.png"))
    assert not (results / "driver.lease").exists()


def test_mlflow_shows_every_trial(finished: tuple[Path, Result]) -> None:
    result = sweep("sync", finished[0] / "sweep.yaml")
    assert result.exit_code == 0
    assert "0 trials added, 8 were there, 0 failed" in result.output


def test_run_again_runs_nothing_and_needs_no_ray(finished: tuple[Path, Result], no_ray: None) -> None:
    before = records(finished[0] / "results")
    result = sweep("run", finished[0] / "sweep.yaml")
    assert result.exit_code == 0
    assert "8 trials, 8 done, 0 to run" in result.output
    assert records(finished[0] / "results") == before


def test_the_plan_and_the_status_of_a_finished_sweep(finished: tuple[Path, Result], no_ray: None) -> None:
    path = finished[0] / "sweep.yaml"
    plan, status = (json.loads(sweep(command, path, "--json").stdout) for command in ("plan", "status"))
    assert (plan["trials"], plan["done"], plan["missing"], plan["failed"]) == (8, 8, 0, 0)
    assert status["outcomes"] == {"completed": 4, "collapsed": 4}


def test_one_trial_can_be_run_again_here(finished: tuple[Path, Result], tmp_path: Path, no_ray: None) -> None:
    results = finished[0] / "results"
    key = next(key for key, item in records(results).items() if item.record.outcome == "completed")
    result = sweep("trial", key[:12], "--from", results, "--keep", tmp_path, "--device", "cpu")
    assert result.exit_code == 0
    assert "equal to its record" in result.output
    assert (tmp_path / "masks.npz").exists() and (tmp_path / "weights.pt").exists()


def test_an_added_ratio_runs_only_its_own_trials(finished: tuple[Path, Result], ray_address: str) -> None:
    folder = finished[0]
    before = records(folder / "results")
    path = write(folder, storage=str(folder / "results"), ratios="[4, 8, 1000]")
    result = sweep("run", path)
    assert result.exit_code == 0
    assert "12 trials, 8 done, 4 to run" in result.output
    after = records(folder / "results")
    assert len(after) == 12
    assert {key: after[key] for key in before} == before  # provenance too: they were not run again


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep's file and models of the user's own."""
    user_models.write(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_bug_in_every_trial_stops_the_sweep_early(own_models: Path, ray_address: str) -> None:
    lines = {"models": "models_of_mine:failing", "methods": "dense", "seeds": str(list(range(30)))}
    result = sweep("run", write(own_models, storage=str(own_models / "results"), **lines))
    assert result.exit_code == 2
    assert "the first 3 trials all failed alike" in result.stderr
    assert "RuntimeError: this network [/red] never trains" in result.stderr
    found = outcomes(own_models / "results")
    assert set(found) == {"failed"} and 3 <= found["failed"] < 15


ONE_BAD = """\
grids:
  - {models: {name: mlp, hidden: [8]}, seeds: [0, 1]}
  - {models: ["models_of_mine:failing", "models_of_mine:dying"], seeds: 0}
  - {models: {name: mlp, hidden: [8]}, seeds: [2, 3]}
"""


def test_bad_trials_fail_alone_and_can_be_retried(own_models: Path, ray_address: str) -> None:
    results = own_models / "results"
    path = write(own_models, SWEEP + ONE_BAD, storage=str(results), methods="dense")
    first = sweep("run", path)
    assert first.exit_code == 1, first.output
    assert outcomes(results) == {"completed": 4, "failed": 2}
    errors = {item.record.spec.model.name: item.record.error or "" for item in records(results).values()}
    assert "Traceback" in errors["models_of_mine:failing"]
    assert errors["models_of_mine:failing"].strip().endswith("this network [/red] never trains")
    assert errors["models_of_mine:dying"]  # its worker could tell nobody why

    assert "2 trials failed" in first.output
    status = json.loads(sweep("status", path, "--json").stdout)
    assert len(status["failures"]) == 2 and status["missing"] == 0
    again = sweep("run", path, "--address", "127.0.0.1:1")  # nothing to run, so nobody connects
    assert again.exit_code == 1 and "0 to run" in again.output

    fixed = user_models.SOURCE.replace("if model.training:", "if False:")
    (own_models / "models_of_mine.py").write_text(fixed)
    retried = sweep("run", path, "--retry-failed")
    assert retried.exit_code == 0
    assert "6 trials, 4 done, 2 to run" in retried.output
    assert outcomes(results) == {"completed": 6}


def test_a_killed_driver_s_sweep_goes_on_to_the_same_records(tmp_path: Path, ray_address: str) -> None:
    """The first driver has a Ray of its own, as on a laptop, and is killed in the middle of a trial."""
    results = tmp_path / "results"
    lines = {"seeds": "[0, 1, 2, 3, 4, 5]", "ratios": "4", "protocol": "{epochs: 150, batch_size: 8}"}
    path = write(tmp_path, storage=str(results), **lines)
    with subprocess.Popen(
        [sys.executable, "-m", "mica.cli", "run", str(path), "--address", "local"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as driver:
        deadline = time.monotonic() + 120
        while len(list(results.glob("records/*/*.json"))) < 2:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGKILL)
    for child in children:  # Ray's processes notice by and by; only the driver's death is the point
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=30)
    survived = records(results)
    assert 2 <= len(survived) < 12
    assert (results / "driver.lease").exists()

    result = sweep("run", path)  # at once, although the dead driver never released its lease
    assert result.exit_code == 0
    found = records(results)
    assert len(found) == 12
    assert {key: found[key] for key in survived} == survived
    assert not list(results.rglob("*.tmp"))
    for item in found.values():
        assert without_provenance(item.record) == without_provenance(run(item.record.spec))
