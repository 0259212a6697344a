"""Whole sweeps on a real Ray cluster: what is missing runs, once, and gives what a single process gives."""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mica.cli.main import main
from mica.sweep.store.stored import Stored
from mica.sweep.sweep import Retry, open_sweep
from tests.sweep import ray_cluster, user_models
from tests.sweep.sample import SWEEP, records_of, write
from tests.trial.sample import without_provenance

pytestmark = pytest.mark.usefixtures("undrawn")  # but for the fixture `finished`


def sweep(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def records(folder: Path) -> dict[str, Stored]:
    return records_of(folder)


def outcomes(folder: Path) -> Counter[str]:
    return Counter(item.record.outcome for item in records(folder).values())


@dataclass(frozen=True)
class Finished:
    """A sweep whose first driver was killed in the middle, and that a second driver has finished."""

    path: Path
    results: Path
    survived: dict[str, Stored]
    """The records that the first driver left."""
    claims_left: int
    """By the first driver, on what it had given out."""
    second: Result


def kill_in_the_middle(path: Path, results: Path) -> None:
    """Start a driver with a Ray of its own, as on a laptop, and kill it once it has two records."""
    command = [sys.executable, "-m", "mica.cli", "run", str(path), "--address", "local"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 300
        while len(list(results.glob("records/*/*.json"))) < 2:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    # Ray's processes notice by and by, and may still finish a trial. Only the driver's death is the point.
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=30)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two seeds × two methods at ratios of which one collapses; training takes most of a second."""
    folder = tmp_path_factory.mktemp("finished")
    results = folder / "results"
    lines = {"protocol": "{epochs: 100, batch_size: 8}", "resources": "{gpu: 0}"}
    path = write(folder, storage=str(results), **lines)
    kill_in_the_middle(path, results)
    survived, claims_left = records(results), len(list(results.glob("claims/*")))
    second = sweep("run", path, "--address", ray_cluster.address())
    return Finished(path, results, survived, claims_left, second)


def test_a_killed_driver_s_sweep_goes_on_where_it_was(finished: Finished) -> None:
    assert 2 <= len(finished.survived) < 8
    assert finished.claims_left  # by a dead process: the second driver does not wait for it
    assert finished.second.exit_code == 0, finished.second.output
    done = len(finished.survived)
    assert f"tiny: 8 trials, {done} done, {8 - done} to run" in finished.second.output
    found = records(finished.results)
    assert {key: found[key] for key in finished.survived} == finished.survived
    assert outcomes(finished.results) == {"completed": 4, "collapsed": 4}
    left = [
        path.name
        for pattern in ("*.tmp", "claims/*", "drivers/*")
        for path in finished.results.rglob(pattern)
    ]
    assert not left


HERE = """
import sys
from mica.cli.main import main
from tests.undrawn import undrawn
undrawn()
main(sys.argv[1:], standalone_mode=False)
assert "torch" in sys.modules and not {"ray", "mlflow"} & sys.modules.keys()
"""


def test_one_process_without_ray_gives_the_same_records_provenance_aside(
    finished: Finished, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HERE, "run", str(finished.path), "--here", "--storage", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    here, there = records(tmp_path), records(finished.results)
    assert here.keys() == there.keys()
    for key, item in here.items():
        assert without_provenance(item.record) == without_provenance(there[key].record)


def test_tables_and_figures_lie_beside_the_records(finished: Finished) -> None:
    results = finished.results
    trials = pd.read_parquet(results / "tables" / "trials.parquet")
    assert set(trials["trial_key"]) == set(records(results))
    assert list((results / "figures").glob("*.png"))


def test_run_again_runs_nothing_and_needs_no_ray(finished: Finished, no_ray: None) -> None:
    before = records(finished.results)
    result = sweep("run", finished.path)
    assert result.exit_code == 0
    assert "8 trials, 8 done, 0 to run" in result.output
    assert records(finished.results) == before


def test_the_plan_and_the_status_of_a_finished_sweep(finished: Finished, no_ray: None) -> None:
    path = finished.path
    plan, status = (json.loads(sweep(command, path, "--json").stdout) for command in ("plan", "status"))
    assert (plan["trials"], plan["done"], plan["missing"], plan["failed"]) == (8, 8, 0, 0)
    assert status["outcomes"] == {"completed": 4, "collapsed": 4}


def test_one_trial_can_be_run_again_here(finished: Finished, tmp_path: Path, no_ray: None) -> None:
    results = finished.results
    key = next(key for key, item in records(results).items() if item.record.outcome == "completed")
    result = sweep("trial", key[:12], "--from", results, "--keep", tmp_path, "--device", "cpu")
    assert result.exit_code == 0
    assert "equal to its record" in result.output
    assert (tmp_path / "masks.npz").exists() and (tmp_path / "weights.safetensors").exists()


def test_an_added_ratio_runs_only_its_own_trials(finished: Finished, ray_address: str) -> None:
    before = records(finished.results)
    text = finished.path.read_text().replace("ratios: [4, 1000]", "ratios: [4, 8, 1000]")
    finished.path.write_text(text.replace("mlflow: false", "mlflow: true"))
    result = sweep("run", finished.path)
    assert result.exit_code == 0
    assert "12 trials, 8 done, 4 to run" in result.output
    assert all(f"{number}/4  synthetic" in result.output for number in range(1, 5))
    after = records(finished.results)
    assert len(after) == 12
    assert {key: after[key] for key in before} == before  # provenance too: they were not run again
    assert "0 trials added, 12 were there, 0 failed" in sweep("sync", finished.path).output


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep's file and models of the user's own."""
    user_models.write(tmp_path)  # where it is found: beside the sweep's file
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "models_of_mine", raising=False)
    return tmp_path


def test_a_bug_in_every_trial_stops_the_sweep_early(own_models: Path, ray_address: str) -> None:
    lines = {"models": "models_of_mine:failing", "methods": "dense", "seeds": str(list(range(30)))}
    lines["times"] = "{storage: 2}"
    result = sweep("run", write(own_models, storage=str(own_models / "results"), **lines))
    assert result.exit_code == 1
    assert "the first 3 trials all failed alike" in result.stderr
    assert "RuntimeError: this network [/red] never trains" in result.stderr
    found = outcomes(own_models / "results")
    assert set(found) == {"failed"} and 3 <= found["failed"] < 15


ONE_BAD = """\
grids:
  - {models: {name: mlp, hidden: [8]}, seeds: [0, 1]}
  - {models: ["models_of_mine:failing", "models_of_mine:dying"], seeds: [0]}
  - {models: {name: mlp, hidden: [8]}, seeds: [2, 3]}
"""


def test_where_records_cannot_be_written_a_sweep_stops_early(own_models: Path, ray_address: str) -> None:
    lines = {"models": "models_of_mine:spoiling", "methods": "dense", "seeds": str(list(range(30)))}
    lines["times"] = "{storage: 2}"
    result = sweep("run", write(own_models, storage=str(own_models / "results"), **lines))
    assert result.exit_code == 130
    assert "records cannot be written" in result.stderr and str(own_models / "results") in result.stderr
    assert (own_models / "spoiled").stat().st_size < 20, "trials ran on for nothing"


def test_bad_trials_fail_alone(own_models: Path, ray_address: str) -> None:
    results = own_models / "results"
    path = write(own_models, SWEEP + ONE_BAD, storage=str(results), methods="dense")
    first = sweep("run", path)
    assert first.exit_code == 1, first.output
    assert outcomes(results) == {"completed": 4, "failed": 2}
    errors = {item.record.spec.model.name: item.record.error or "" for item in records(results).values()}
    assert "Traceback" in errors["models_of_mine:failing"]
    assert errors["models_of_mine:failing"].strip().endswith("this network [/red] never trains")
    assert errors["models_of_mine:dying"].startswith("worker died: ")  # it could tell nobody why

    assert "2 trials failed" in first.output
    status = json.loads(sweep("status", path, "--json").stdout)
    assert len(status["failures"]) == 2 and status["missing"] == 0
    again = sweep("run", path, "--address", "127.0.0.1:1")  # nothing to run, so nobody connects
    assert again.exit_code == 1 and "6 trials, 6 done (2 of them failed), 0 to run" in again.output

    assert "2 trials failed" in again.output and "--retry-failed runs them again" in again.output
    retried = open_sweep(path).missing(Retry(failed=True)).values()
    assert {spec.model.name for spec in retried} == {"models_of_mine:failing", "models_of_mine:dying"}


MASKS_ONLY = """\
name: masks
data: {name: synthetic, size: 8, channels: 1, classes: 4, train: 60, test: 20}
methods: [rpi-erk, mica-erk]
ratios: [4, 8]
protocol: {epochs: 0}
mlflow: false
grids:
  - {models: "models_of_mine:counted", seeds: [0, 1, 2, 3, 4]}
  - {models: "models_of_mine:deadly", seeds: [0], methods: rpi-erk, ratios: 4}
  - {models: "models_of_mine:mortal", seeds: [0], methods: rpi-erk, ratios: 4}
  - {models: {name: "models_of_mine:counted", title: later}, seeds: [5, 6, 7, 8, 9]}
"""


def test_of_many_masks_made_in_one_worker_the_deadly_one_fails_alone(
    own_models: Path, ray_address: str
) -> None:
    results = own_models / "results"
    first = sweep("run", write(own_models, MASKS_ONLY, storage=str(results)))
    assert first.exit_code == 1, first.output
    assert outcomes(results) == {"completed": 41, "failed": 1}
    assert all(f"{number:>2}/42  synthetic" in first.output for number in range(1, 43))
    assert (own_models / "mortal").read_text() == "xx", "what was killed once ran again"
    assert (own_models / "deaths").read_text() == "xxx", "three workers died of it"
    assert (own_models / "runs").read_text() == "x" * 40, "the others ran once each"


def test_a_sweep_goes_on_at_another_desk_when_its_own_dies(
    own_models: Path, ray_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = {"models": "models_of_mine:orphaning", "methods": "rpi-erk", "protocol": "{epochs: 0}"}
    path = write(own_models, storage=str(own_models / "results"), **lines)
    first = sweep("run", path)
    assert first.exit_code == 0, first.output
    assert "the sweep's desk died, another takes its place" in caplog.text
    assert outcomes(own_models / "results").total() == 4


def pictures(path: Path, side: int) -> str:
    """A parquet file with an image of each of two classes."""
    images = []
    for level in (0, 255):
        buffer = io.BytesIO()
        Image.fromarray(np.diag([level] * side).astype(np.uint8)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"img": images, "label": [0, 1]}), path)
    return str(path)


def test_what_cannot_run_is_told_at_once_before_anything_is_written(
    own_models: Path, ray_address: str
) -> None:
    train, test = pictures(own_models / "train.parquet", 8), pictures(own_models / "test.parquet", 9)
    own_data = f"{{name: parquet, train: {train}, test: {test}}}"
    lines = {
        "data": f"[{{name: synthetic, size: 8, channels: 1}}, {own_data}]",
        "models": "[models_of_mine:sound, models_of_mine:untraceable, models_of_mine:unbuildable, "
        "models_of_mine:wide]",
        "resources": "{cpu: 1000, gpu: 0}",
        "protocol": "{val_size: 600}",
    }
    result = sweep("run", write(own_models, storage=str(own_models / "results"), **lines))
    assert result.exit_code == 2
    faults = result.stderr.removeprefix("error: ").splitlines()
    expected = [
        "resources: a trial asks for 1000 cpu, 0 gpu; the largest node has 1 cpu, ",
        "model 'models_of_mine:untraceable' on 'synthetic",
        "model 'models_of_mine:unbuildable' on 'synthetic(channels=1,size=8)': TypeError: cannot be built",
        "model 'models_of_mine:wide' on 'synthetic(channels=1,size=8)': its output is [1000] for one image",
        "protocol: synthetic: val_size is 600; allowed are 1 to 511",
        f"{test}: test images are 9x9 grey, but the training images in {train} are 8x8 grey",
    ]
    assert len(faults) == len(expected)
    for start in expected:
        assert any(fault.startswith(start) for fault in faults), faults
    assert not (own_models / "results").exists()


def test_a_storage_that_cannot_be_written_is_told_before_any_trial(tmp_path: Path, ray_address: str) -> None:
    (tmp_path / "file").write_text("in the way")
    result = sweep("run", write(tmp_path, storage=str(tmp_path / "file" / "results")))
    assert result.exit_code == 2
    assert f"storage {tmp_path}/file/results: cannot be written" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sweep.yaml"]
