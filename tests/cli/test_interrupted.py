"""What a running sweep may meet: signals, hanging workers, a dead Ray. It says so, and leaves no process."""

import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from click.testing import CliRunner

from mica.cli.main import main
from mica.wording import counted
from tests.cli.driver import driver, slow_sweep, trial_processes

STOPPING = "stopping: what runs saves what it has come to; again to stop at once"


def goes_on(missing: int) -> str:
    return f"interrupted: {counted(missing, 'trial')} missing; the same line again goes on"


def test_a_sweep_in_one_process_stops_between_two_steps(tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path), "--here") as found:
        found.wait_for(lambda: trial_processes(tmp_path))
        time.sleep(1)
        found.send(signal.SIGINT)
        assert found.code(15) == 130, found.said
        assert found.said.endswith(f"{STOPPING} {goes_on(1)}")
    assert not (tmp_path / "results" / "driver.lease").exists()


def test_while_ray_starts_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path)) as found:
        found.wait_for(lambda: found.children("gcs_server"))
        found.send(signal.SIGINT)
        found.send(signal.SIGTERM)
        assert found.code(3) == 130, found.said
        assert found.said.endswith(goes_on(1)) and "Traceback" not in found.said


def test_a_worker_that_hangs_or_is_terminated_is_replaced_and_sigterm_ends_it_all(tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path, times="{stall: 30}", mlflow="true")) as found:

        def process(number: int) -> int:
            """The one that the trial trains in, the n-th time."""
            found.wait_for(lambda: len(trial_processes(tmp_path)) >= number)
            time.sleep(1)
            return trial_processes(tmp_path)[number - 1]

        hanging = process(1)
        os.kill(hanging, signal.SIGSTOP)
        terminated = process(2)
        assert re.search(r"made no progress for 3\d s: its worker is killed", found.said), found.said
        assert not psutil.pid_exists(hanging)

        os.kill(terminated, signal.SIGTERM)
        process(3)
        assert "a worker died" not in found.said

        found.send(signal.SIGTERM)
        assert found.code(25) == 130, found.said
        assert found.said.endswith(f"{STOPPING} {goes_on(1)}"), found.said


def test_an_address_where_no_cluster_is(tmp_path: Path) -> None:
    began = time.monotonic()
    found = CliRunner().invoke(main, ["run", str(slow_sweep(tmp_path)), "--address", "127.0.0.1:1"])
    assert found.exit_code == 2
    assert time.monotonic() - began < 15
    assert "error: no Ray cluster answers at 127.0.0.1:1 (Connection refused)" in found.stderr
    assert not (tmp_path / "results").exists()


def test_where_ray_dies_one_sentence_says_so(tmp_path: Path) -> None:
    with ExitStack() as both:
        drivers = {}
        for process in ("gcs_server", "raylet/raylet"):  # side by side: most of it is waiting for Ray
            folder = tmp_path / process.partition("/")[0]
            folder.mkdir()
            drivers[process] = both.enter_context(driver(slow_sweep(folder)))
        for process, found in drivers.items():
            found.wait_for(lambda found=found: found.children("ray::Desk"))
            found.children(process)[0].kill()
        for found, name in zip(drivers.values(), ("control service", "raylet"), strict=True):
            assert found.code(25) == 130, found.said
            said = found.said.partition("seed 0")[2]
            assert said.strip().startswith(f"error: Ray has died: its {name} at "), said
            assert said.endswith("the same line again goes on") and "state-dump" not in said
