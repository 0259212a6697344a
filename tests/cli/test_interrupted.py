"""SIGINT, SIGTERM and what else a running sweep may meet: it ends in order, says so, and leaves no process."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.driver import LANE, driver, slow_sweep

STOPPING = "stopping: what runs saves what it has come to; again to stop at once"


def goes_on(missing: int) -> str:
    return f"interrupted: {missing} trials are missing; the same line again goes on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_in_one_process_stops_between_two_steps(number: int, tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path), "--here") as found:
        found.wait_for(lambda: (tmp_path / "results").exists())
        time.sleep(2)
        found.send(number)
        assert found.code(15) == 130, found.said
        assert found.said.endswith(f"{STOPPING} {goes_on(4)}")
    assert not (tmp_path / "results" / "driver.lease").exists()


def test_while_ray_starts_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path)) as found:
        found.wait_for(lambda: found.children("gcs_server"))
        found.send(signal.SIGINT)
        found.send(signal.SIGTERM)
        assert found.code(3) == 130, found.said
        assert found.said.endswith(goes_on(4)) and "Traceback" not in found.said


def test_a_worker_that_hangs_or_is_terminated_is_replaced_and_sigterm_ends_it_all(tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path, times="{stall: 4}", mlflow="true")) as found:

        def at_work(lanes: set[int]) -> bool:
            """Whether as many others run by now, and have for a moment."""
            others = [child for child in found.children(LANE) if child.pid not in lanes]
            return len(others) >= len(lanes or {1}) and all(
                time.time() - child.create_time() > 6 for child in others
            )

        found.wait_for(lambda: at_work(set()))
        first = {child.pid for child in found.children(LANE)}
        for pid in first:
            os.kill(pid, signal.SIGSTOP)
        found.wait_for(lambda: at_work(first))
        assert "made no progress for 4 s: its worker is killed" in found.said
        assert not any(psutil.pid_exists(pid) for pid in first)

        second = {child.pid for child in found.children(LANE)}
        for pid in second:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        found.wait_for(lambda: not second & {child.pid for child in found.children(LANE)})
        assert "a worker died" not in found.said

        found.send(signal.SIGTERM)
        assert found.code(25) == 130, found.said
        assert found.said.endswith(f"{STOPPING} {goes_on(4)}"), found.said


def test_an_address_where_no_cluster_is(tmp_path: Path) -> None:
    began = time.monotonic()
    with driver(slow_sweep(tmp_path), "--address", "127.0.0.1:1") as found:
        assert found.process.wait(25) == 2
        assert time.monotonic() - began < 25
        assert "error: no Ray cluster answers at 127.0.0.1:1 (Connection refused)" in found.said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("process", "name"), [("gcs_server", "control service"), ("raylet/raylet", "raylet")]
)
def test_where_ray_dies_one_sentence_says_so(process: str, name: str, tmp_path: Path) -> None:
    with driver(slow_sweep(tmp_path)) as found:
        found.wait_for(lambda: found.children(LANE))
        (victim,) = found.children(process)
        victim.kill()
        assert found.code(25) == 130, found.said
        said = found.said.partition("seed 0")[2]
        assert said.strip().startswith(f"error: Ray has died: its {name} at "), said
        assert said.endswith("the same line again goes on") and "state-dump" not in said
