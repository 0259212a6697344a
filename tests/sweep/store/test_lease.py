"""One driver at a time on a store, and none waits for a dead one."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mica.errors import UserError
from mica.sweep.store import lease as lease_module
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import LEASE
from mica.sweep.store.lease import Lease


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_SETTLE_SECONDS", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


@pytest.fixture
def other_process() -> Iterator[int]:
    """The number of a process that lives as long as the test."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield sleeper.pid
    sleeper.kill()
    sleeper.wait()


def dead_process() -> int:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def hold(folder: Folder, *, pid: int, host: str | None = None, age: float = 0.0) -> None:
    """A lease as another driver leaves it."""
    holder = {
        "host": host or socket.gethostname(),
        "pid": pid,
        "token": "other",
        "renewed": time.time() - age,
    }
    folder.write(LEASE, json.dumps(holder).encode())


def take(folder: Folder) -> None:
    with Lease(folder):
        assert held_by_us(folder)
    assert folder.read(LEASE) is None


def held_by_us(folder: Folder) -> bool:
    return json.loads(folder.read(LEASE) or b"{}").get("pid") == os.getpid()


def test_a_lease_is_there_while_a_driver_works_and_gone_afterwards(folder: Folder) -> None:
    take(folder)
    take(folder)


def test_a_lease_is_released_when_the_driver_fails(folder: Folder) -> None:
    with pytest.raises(KeyError), Lease(folder):
        raise KeyError
    assert folder.read(LEASE) is None


def test_a_second_driver_of_the_same_process_is_refused(folder: Folder) -> None:
    with Lease(folder):
        with pytest.raises(UserError, match=f"process {os.getpid()} on {socket.gethostname()}"):
            take(folder)
        assert held_by_us(folder)


def test_a_second_driver_is_refused_while_the_first_lives(folder: Folder, other_process: int) -> None:
    hold(folder, pid=other_process)
    before = folder.read(LEASE)
    with pytest.raises(UserError, match=f"another driver is at work on it .process {other_process} on"):
        take(folder)
    assert folder.read(LEASE) == before


def test_the_lease_of_a_dead_process_is_taken_over_at_once(folder: Folder) -> None:
    hold(folder, pid=dead_process())
    take(folder)


def test_the_lease_of_another_machine_is_taken_over_when_it_is_stale(folder: Folder) -> None:
    hold(folder, pid=dead_process(), host="elsewhere", age=60)
    with pytest.raises(UserError, match="on elsewhere"):
        take(folder)
    hold(folder, pid=os.getpid(), host="elsewhere", age=100)
    take(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": "x", "host": 1, "renewed": "y"}']
)
def test_what_is_no_lease_holds_nobody_up(folder: Folder, content: bytes) -> None:
    folder.write(LEASE, content)
    take(folder)


def test_a_lease_is_renewed_in_the_background(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.02)
    with Lease(folder):
        first = json.loads(folder.read(LEASE) or b"")["renewed"]
        deadline = time.monotonic() + 10
        while json.loads(folder.read(LEASE) or b"")["renewed"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_of_drivers_that_start_at_the_same_moment_one_works(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_SETTLE_SECONDS", 0.5)
    start, stop = threading.Barrier(4), threading.Event()
    took: list[bool] = []

    def drive() -> None:
        start.wait()
        try:
            with Lease(folder):
                took.append(True)
                stop.wait()
        except UserError:
            took.append(False)

    drivers = [threading.Thread(target=drive) for _ in range(4)]
    for driver in drivers:
        driver.start()
    deadline = time.monotonic() + 10
    while len(took) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for driver in drivers:
        driver.join()
    assert sorted(took) == [False, False, False, True]


def test_a_driver_learns_that_it_lost_its_lease(
    folder: Folder, other_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.02)
    with Lease(folder) as lease:
        assert lease.held
        hold(folder, pid=other_process)
        deadline = time.monotonic() + 10
        while lease.held and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not lease.held
    assert json.loads(folder.read(LEASE) or b"{}")["pid"] == other_process


def test_a_driver_that_lost_its_lease_leaves_the_new_one_alone(folder: Folder, other_process: int) -> None:
    with Lease(folder):
        hold(folder, pid=other_process)
    assert json.loads(folder.read(LEASE) or b"{}")["pid"] == other_process
