"""A real MLflow server over PostgreSQL, killed, stopped and restarted in mid-sweep."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mica.sweep.store.records import Store, Stored
from mica.sweep.sweep import open_sweep
from mica.sweep.track import process
from mica.sweep.track.front import METHOD_TAG
from mica.sweep.track.process import Tracker
from mica.sweep.track.projection import Tally, sync
from tests.services.processes import descendants, wait_until_gone
from tests.services.running import PASSWORD, Database, Server
from tests.sweep.sample import write
from tests.sweep.track.mlflow_records import by_key, made, race, runs

SEEDS = 16
HANGS = 8.0
"""Seconds; one call that hangs takes MLflow's 10."""


@pytest.fixture
def sweep(tmp_path: Path, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MICA_TEST_MLFLOW", mlflow_server.uri)
    lines = {
        "name": "services",
        "storage": str(tmp_path / "results"),
        "seeds": str(list(range(SEEDS))),
        "ratios": "4",
        "protocol": "{epochs: 60, batch_size: 8}",
        "resources": "{gpu: 0}",
        "mlflow": "$MICA_TEST_MLFLOW",  # no password in the file
    }
    return write(tmp_path, **lines)


def mica(*arguments: str | Path, output: Path) -> subprocess.Popen[bytes]:
    with open(output, "ab") as log:
        command = [sys.executable, "-m", "tests.undrawn", *map(str, arguments)]
        return subprocess.Popen(command, stdout=log, stderr=log)


def records(folder: Path) -> list[Path]:
    return list((folder / "results" / "records").glob("*/*.json"))


def wait_for_records(folder: Path, number: int, driver: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while len(records(folder)) < number:
        assert driver.poll() is None and time.monotonic() < until
        time.sleep(0.05)


def idle_seconds(folder: Path, stored: Mapping[str, Stored]) -> list[float]:
    """What the driver spent between two records besides the later one's trial, however busy the machine."""
    written = sorted((path.stat().st_mtime, path.stem) for path in records(folder))
    return [
        late
        - early
        - stored[key].record.provenance.seconds_mask
        - stored[key].record.provenance.seconds_train
        for (early, _), (late, key) in pairwise(written)
    ]


def test_of_four_processes_that_race_one_run_a_trial_stays(mlflow_server: Server) -> None:
    race(mlflow_server.uri, "race", records=6)
    found = by_key(mlflow_server.uri, "race")
    (parent,) = runs(mlflow_server.uri, "race", "mica.sweep")
    assert found.keys() == {f"k{seed}" for seed in range(6)}
    assert {run.info.status for run in [parent, *found.values()]} == {"FINISHED"}
    assert all(run.data.metrics["test_top1"] == 43.0 for run in found.values())


def test_a_sweep_goes_on_whatever_happens_to_mlflow(
    sweep: Path, tmp_path: Path, mlflow_server: Server, postgres: Database
) -> None:
    trials = open_sweep(sweep).grid.trials
    server, output = mlflow_server.service, tmp_path / "output"
    driver = mica("run", sweep, "--here", output=output)
    wait_for_records(tmp_path, 4, driver)
    tracking = descendants(driver.pid)
    server.kill()
    wait_for_records(tmp_path, 10, driver)
    server.start()
    wait_for_records(tmp_path, 16, driver)
    postgres.service.kill()
    wait_for_records(tmp_path, 20, driver)
    postgres.service.start()
    server.send(signal.SIGSTOP)  # and so it stays
    assert driver.wait(400) == 0
    ended, last = time.time(), max(path.stat().st_mtime for path in records(tmp_path))
    text = output.read_text()

    stored = {item.key: item for item in Store(str(tmp_path / "results")).load()}
    assert stored.keys() == trials.keys(), text
    assert max(idle_seconds(tmp_path, stored)) < HANGS, text
    assert ended - last < 60, "the driver waited for a server that hangs"
    assert "`mica-sweep sync` will catch up" in text
    assert PASSWORD not in text and "Traceback" not in text
    assert tracking and wait_until_gone(tracking, 10), "its tracking process is still there"

    server.kill()
    server.start()
    for command in ("report", "sync"):
        assert mica(command, sweep, output=output).wait(120) == 0, output.read_text()
    (tmp_path / "results/mlflow/services/front.json").unlink()
    assert mica("run", sweep, "--here", output=output).wait(120) == 0, "there is nothing to run"
    place = mlflow_server.uri.partition("@")[2]
    assert f"MLflow   http://{place}/#/experiments/" in output.read_text(), "a link without a password"
    found = by_key(mlflow_server.uri, "services")
    (parent,) = runs(mlflow_server.uri, "services", "mica.sweep")
    assert found.keys() == trials.keys()
    assert {run.info.status for run in [parent, *found.values()]} == {"FINISHED"}
    for key, run in found.items():
        assert run.data.metrics["test_top1"] == stored[key].record.results.test_top1
        assert run.data.metrics["epochs"] == 60
    fronts = runs(mlflow_server.uri, "services", METHOD_TAG)
    assert {run.info.status for run in fronts} == {"FINISHED"}, "a run a method"
    assert MlflowClient(mlflow_server.uri).list_artifacts(parent.info.run_id, "figures")
    shown = str([run.to_dictionary() for run in [parent, *fronts, *found.values()]])
    assert PASSWORD not in shown + output.read_text()
    again = ((key, item.record) for key, item in stored.items())
    assert sync(mlflow_server.uri, "services", again, complete=True) == Tally(present=len(trials))


def test_a_database_that_hangs_is_not_waited_for_long(
    tmp_path: Path, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server before it, so that no request of ours has a time of its own."""
    monkeypatch.setattr(process, "_PATIENCE", 4)
    monkeypatch.setattr(process, "_MORE_PATIENCE", 3)
    warnings: list[str] = []
    postgres.service.kill()  # whatever the tests before have left
    postgres.service.start()
    Store(str(tmp_path)).put(Stored("k0", "hangs", made()))
    tracker = Tracker(postgres.uri, "hangs", str(tmp_path), warn=warnings.append)
    tracker.start()
    postgres.service.send(signal.SIGSTOP)
    tracker.log("k0")
    begin = time.monotonic()
    tally = tracker.close(complete=True)
    assert time.monotonic() - begin < 40, "as its statements would be, one after the other"
    assert tally.failed == 1 and tally.error
    assert PASSWORD not in str(warnings) + str(tally)
