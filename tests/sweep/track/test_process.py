"""A running sweep's tracking: it takes what the trials leave, and nobody waits for it."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.sweep.track.process import Tracker
from mica.sweep.track.projection import Tally, default_uri, sync
from tests.sweep.track.mlflow_records import closed_port, made, runs

SWEEP = "a sweep"
RECORDS = {made(seed).spec.key: made(seed) for seed in range(3)}
KEYS = [*RECORDS]
GONE = "f" * 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("a store"))
    for key, record in RECORDS.items():
        Store(place).put(Stored(key, SWEEP, record))
    return place


@pytest.fixture
def warnings() -> list[str]:
    return []


def started(uri: str, store: str, keys: list[str], warnings: list[str]) -> Tracker:
    tracker = Tracker(uri, SWEEP, store, warn=warnings.append)
    tracker.start()
    hurry(tracker._process.pid)
    for key in keys:
        tracker.log(key)
    return tracker


def hurry(pid: int) -> None:
    """Give it time again once it has given way, where this user may: on a busy machine it would get none."""
    wait_until_it_gives_way(pid)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, 0)
        Path(f"/proc/{pid}/autogroup").write_text("0")


def test_it_logs_in_the_background(store: str, warnings: list[str]) -> None:
    uri = default_uri(store)
    tally = started(uri, store, [*RECORDS], warnings).close()
    assert (tally.logged + tally.present, tally.failed) == (3, 0)
    assert sync(uri, SWEEP, RECORDS.items()) == Tally(present=3)
    assert {run.info.status for run in runs(uri, SWEEP, "mica.sweep")} == {"FINISHED"}
    assert not warnings


def test_a_record_that_cannot_be_read_is_missed_alone(store: str, warnings: list[str]) -> None:
    tally = started(default_uri(store), store, [KEYS[0], GONE, KEYS[2]], warnings).close()
    assert (tally.logged + tally.present, tally.failed) == (2, 1)
    assert tally.error == f"LookupError: the record of {GONE} has vanished"
    assert len(warnings) == 1


def test_it_takes_the_time_that_others_leave(store: str, warnings: list[str]) -> None:
    tracker = Tracker(f"http://127.0.0.1:{closed_port()}", SWEEP, store, warn=warnings.append)
    tracker.start()
    wait_until_it_gives_way(tracker._process.pid)
    tracker.close()


def wait_until_it_gives_way(pid: int) -> None:
    idle, until = getattr(os, "SCHED_IDLE", None), time.monotonic() + 60
    while not gives_way(pid, idle) and time.monotonic() < until:
        time.sleep(0.05)
    assert gives_way(pid, idle)


def gives_way(pid: int, idle: int | None) -> bool:
    return os.getpriority(os.PRIO_PROCESS, pid) == 19 and idle in (None, os.sched_getscheduler(pid))


def test_what_gets_no_time_is_done_by_the_driver(store: str, warnings: list[str]) -> None:
    tracker = started(default_uri(store), store, [], warnings)
    os.kill(tracker._process.pid, signal.SIGSTOP)
    for key in RECORDS:
        tracker.log(key)
    tally = tracker.close(1)
    assert (tally.logged + tally.present, tally.failed, tally.error) == (3, 0, None)
    assert not warnings


def test_a_server_that_is_down_costs_one_warning(store: str, warnings: list[str]) -> None:
    uri = f"http://name:secret@127.0.0.1:{closed_port()}"
    tally = started(uri, store, [f"{seed:064x}" for seed in range(50)], warnings).close()
    assert (tally.logged, tally.present, tally.failed) == (0, 0, 50)
    assert len(warnings) == 1 and "the sweep goes on" in warnings[0]
    assert "secret" not in warnings[0]


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts connections and never answers; closed when the test closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_does_not_answer_is_not_waited_for_long(
    store: str, warnings: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tally = started(f"http://127.0.0.1:{port}", store, [*RECORDS] * 100, warnings).close()
    assert tally.failed == 300
    assert len(warnings) == 1 and "the sweep goes on" in warnings[0]


def test_a_killed_driver_s_sweep_is_not_shown_as_finished(store: str, warnings: list[str]) -> None:
    uri = default_uri(store)
    tracker = started(uri, store, [*RECORDS], warnings)
    while tracker._tally.seen < 3:
        time.sleep(0.1)
    process = tracker._process
    assert process.stdin is not None
    process.stdin.close()  # as when the driver is killed
    process.wait()
    assert {run.info.status for run in runs(uri, SWEEP, "mica.sweep")} == {"RUNNING"}


def test_its_death_costs_one_warning(store: str, warnings: list[str]) -> None:
    tracker = started(f"http://127.0.0.1:{closed_port()}", store, [], warnings)
    os.kill(tracker._process.pid, signal.SIGKILL)
    for key in RECORDS:
        tracker.log(key)
    tally = tracker.close()
    assert tally == Tally(failed=3, error="its process ended with exit code -9")
    assert len(warnings) == 1
