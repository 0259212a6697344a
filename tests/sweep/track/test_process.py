"""A running sweep's tracking: it takes what the trials leave, and nobody waits for it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.sweep.track import process
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
    hurry(pid_of(tracker))
    for key in keys:
        tracker.log(key)
    return tracker


def pid_of(tracker: Tracker) -> int:
    assert tracker._talk.process is not None
    return tracker._talk.process.pid


def hurry(pid: int) -> None:
    """Give it time again once it has given way, where this user may: on a busy machine it would get none."""
    wait_until_it_gives_way(pid)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, 0)
        Path(f"/proc/{pid}/autogroup").write_text("0")


def parent_states(uri: str) -> set[str]:
    return {run.info.status for run in runs(uri, SWEEP, "mica.sweep")}


def test_it_logs_in_the_background(store: str, warnings: list[str]) -> None:
    uri = default_uri(store)
    tally = started(uri, store, [*RECORDS], warnings).close(complete=True)
    assert (tally.shown, tally.failed, tally.error) == (3, 0, None)
    assert sync(uri, SWEEP, RECORDS.items(), complete=True) == Tally(present=3)
    assert parent_states(uri) == {"FINISHED"}
    assert not warnings


def test_an_interrupt_that_is_meant_for_the_driver_costs_nothing(store: str, warnings: list[str]) -> None:
    uri = default_uri(store)
    tracker = started(uri, store, [*RECORDS][:1], warnings)
    for name in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid_of(tracker), name)
    for key in RECORDS:
        tracker.log(key)
    tally = tracker.close(complete=False)
    assert (tally.shown, tally.failed, tally.error) == (3, 0, None)
    assert parent_states(uri) == {"KILLED"}, "trials are missing, so it did not finish"
    assert not warnings


def test_a_record_that_cannot_be_read_is_missed_alone(store: str, warnings: list[str]) -> None:
    tally = started(default_uri(store), store, [KEYS[0], GONE, KEYS[2]], warnings).close(complete=True)
    assert (tally.shown, tally.failed) == (2, 1)
    assert tally.error == f"LookupError: the record of {GONE} has vanished"
    assert len(warnings) == 1
    assert parent_states(default_uri(store)) == {"KILLED"}


def test_it_takes_the_time_that_others_leave(store: str, warnings: list[str]) -> None:
    tracker = Tracker(f"http://127.0.0.1:{closed_port()}", SWEEP, store, warn=warnings.append)
    tracker.start()
    wait_until_it_gives_way(pid_of(tracker))
    tracker.close(complete=True)


def wait_until_it_gives_way(pid: int) -> None:
    idle, until = getattr(os, "SCHED_IDLE", None), time.monotonic() + 60
    while not gives_way(pid, idle) and time.monotonic() < until:
        time.sleep(0.05)
    assert gives_way(pid, idle)


def gives_way(pid: int, idle: int | None) -> bool:
    return os.getpriority(os.PRIO_PROCESS, pid) == 19 and idle in (None, os.sched_getscheduler(pid))


@pytest.mark.parametrize("name", [signal.SIGSTOP, signal.SIGKILL])
def test_what_gets_no_time_another_process_does(
    store: str, warnings: list[str], monkeypatch: pytest.MonkeyPatch, name: signal.Signals
) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 1)
    monkeypatch.setattr(process, "_MORE_PATIENCE", 0)  # that is for servers: here is none
    tracker = started(default_uri(store), store, [], warnings)
    os.kill(pid_of(tracker), name)
    for key in RECORDS:
        tracker.log(key)
    tally = tracker.close(complete=True)
    assert (tally.shown, tally.failed) == (3, 0)
    assert parent_states(default_uri(store)) == {"FINISHED"}
    assert len(warnings) == (name == signal.SIGKILL)


def test_a_server_that_is_down_costs_one_warning(store: str, warnings: list[str]) -> None:
    uri = f"http://name:secret@127.0.0.1:{closed_port()}"
    tally = started(uri, store, [f"{seed:064x}" for seed in range(50)], warnings).close(complete=True)
    assert (tally.shown, tally.failed) == (0, 50)
    assert len(warnings) == 1 and "the sweep goes on" in warnings[0]
    assert "secret" not in warnings[0] and "secret" not in str(tally.error)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts connections and never answers; closed when the test closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_does_not_answer_is_not_waited_for_long(
    store: str, warnings: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 3)
    monkeypatch.setattr(process, "_MORE_PATIENCE", 2)
    tracker = started(f"http://127.0.0.1:{port}", store, [*RECORDS], warnings)
    begin = time.monotonic()
    tally = tracker.close(complete=True)
    assert time.monotonic() - begin < 8
    assert (tally.failed, tally.error) == (3, "it does not answer")


def test_a_driver_that_is_killed_takes_its_process_along(store: str, port: int) -> None:
    """Also when MLflow hangs, and when another process holds the pipe open."""
    code = (
        "import subprocess, sys, time\n"
        "from mica.sweep.track.process import Tracker\n"
        "tracker = Tracker(*sys.argv[1:])\n"
        "tracker.start()\n"
        "tracker.log('k0')\n"
        "pipe = tracker._talk.process.stdin.fileno()\n"
        "held = subprocess.Popen(['sleep', '60'], pass_fds=[pipe])\n"
        "print(tracker._talk.process.pid, held.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", code, f"http://127.0.0.1:{port}", SWEEP, store]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        tracking, held = (psutil.Process(int(pid)) for pid in driver.stdout.readline().split())
        try:
            wait_until_it_gives_way(tracking.pid)
            driver.kill()
            driver.wait()
            gone, _ = psutil.wait_procs([tracking], timeout=30)
            assert gone, "the tracking process is still there"
        finally:
            held.kill()


def test_a_killed_driver_s_sweep_is_not_shown_as_finished(store: str, warnings: list[str]) -> None:
    uri = default_uri(store)
    tracker = started(uri, store, [*RECORDS], warnings)
    while tracker._tally.seen < 3:
        time.sleep(0.1)
    tracking = tracker._talk.process
    assert tracking is not None and tracking.stdin is not None
    tracking.stdin.close()  # as when the driver is killed
    tracking.wait()
    assert parent_states(uri) == {"RUNNING"}
    sync(uri, SWEEP, RECORDS.items(), complete=True)
    assert parent_states(uri) == {"FINISHED"}
