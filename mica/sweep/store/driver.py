"""A driver's signs of life in the store, and how others judge by them whether it lives."""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from mica.sweep.store.layout import DRIVERS, driver_path
from mica.sweep.store.place import Obstacle, Place

log = logging.getLogger(__name__)

_BEATS_A_CLAIM = 6
"""Signs of life within the time after which there are taken to be no more."""


class Driver:
    """Beats in the background while a driver works on a store, and says what runs.

    No clock is compared with another machine's: a beat is a number, and who watches counts the time in which
    it has seen no new one.
    """

    def __init__(self, place: Place, sweep: str, claim_seconds: float) -> None:
        self.id = uuid4().hex[:12]
        self._place, self._sweep, self._seconds = place, sweep, claim_seconds
        self._beats = 0
        self._show: Callable[[], dict[str, Any]] = dict
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mica-driver", daemon=True)

    def __enter__(self) -> "Driver":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        with suppress(OSError):  # it hides no reason why the driver leaves
            self._place.delete(driver_path(self.id))

    def show(self, what: Callable[[], dict[str, Any]]) -> None:
        """What each beat says besides: how far the sweep is, what runs; called in the background."""
        self._show = what

    def _work(self) -> None:
        period, last = self._seconds / _BEATS_A_CLAIM, time.monotonic()
        while not self._leaving.wait(period):
            slept, last = time.monotonic() - last - period, time.monotonic()
            if slept > self._seconds - period:
                log.warning(
                    "this driver gave no sign of life for %.0f s: others may have taken over what it runs; "
                    "it goes on, and makes no second record of any trial",
                    slept + period,
                )
            try:
                self._beat()
            except Exception as error:  # a full disk, a lost network: perhaps gone the next time
                log.warning("a sign of life could not be written: %s", error)

    def _beat(self) -> None:
        self._beats += 1
        said = {"driver": self.id, "beat": self._beats, "sweep": self._sweep, **_machine(), **self._show()}
        content = json.dumps({**said, "every": self._seconds / _BEATS_A_CLAIM}).encode()
        self._place.write(driver_path(self.id), content, durable=False)


class Watch:
    """Tells which drivers live, by what it has seen of them itself."""

    def __init__(
        self, place: Place, claim_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place, self._seconds, self._clock = place, claim_seconds, clock
        self._seen: dict[str, tuple[object, float]] = {}
        """Driver → its last beat, and how long it has been the last while somebody looked."""
        self._looked: dict[str, float] = {}

    def lives(self, driver: str) -> bool:
        """Whether a driver may still be at work. One of this machine is asked for its process."""
        said = read_beat(self._place, driver)
        now = self._clock()
        beat = said.get("beat") if said else None
        last, unseen = self._seen.get(driver, (None, 0.0))
        if driver not in self._seen or beat != last:
            unseen = 0.0
        else:  # who slept meanwhile has not watched
            unseen += min(now - self._looked[driver], self._seconds / _BEATS_A_CLAIM)
        self._seen[driver], self._looked[driver] = (beat, unseen), now
        if said and _gone(said):
            return False
        return unseen <= self._seconds


class Running(BaseModel):
    """A trial, as its driver's sign of life tells of it."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    trial: str
    host: str
    epoch: int
    epochs: int
    val_top1: float | None = None
    seconds: float


class SignOfLife(BaseModel):
    """What a driver says of itself, for people."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    driver: str
    sweep: str
    host: str
    pid: int
    running: tuple[Running, ...] = ()
    left: int | None = None
    """Trials that have not ended; null before the first is handed out."""
    seconds_to_go: float | None = None


def at_work(place: Place) -> Iterator[SignOfLife]:
    """The drivers that have said something and not taken their leave.

    One of this machine that is dead is left out; of one elsewhere only a later look tells.
    """
    for path in place.list(DRIVERS):
        said = read_beat(place, path.removeprefix(f"{DRIVERS}/").removesuffix(".json"))
        if said and not _gone(said):
            with suppress(ValidationError):
                yield SignOfLife.model_validate(said)


def read_beat(place: Place, driver: str) -> dict[str, Any] | None:
    """What a driver said last; None when there is nothing sound."""
    try:
        said = json.loads(place.read(driver_path(driver)) or b"")
    except (ValueError, RecursionError, Obstacle):
        return None
    return said if isinstance(said, dict) else None


def _machine() -> dict[str, Any]:
    """This process among all of this machine; a process of another namespace cannot be asked for."""
    found: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "machine": "", "born": ""}
    with suppress(OSError):  # only Linux tells
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        found["machine"] = f"{boot} {os.readlink('/proc/self/ns/pid')}"
        found["born"] = _born(os.getpid())
    return found


def _gone(said: dict[str, Any]) -> bool:
    """Whether a driver was a process of this machine that is there no more."""
    machine, pid = said.get("machine"), said.get("pid")
    if not machine or machine != _machine()["machine"] or not isinstance(pid, int):
        return False
    try:
        return _born(pid) != said.get("born")
    except (OSError, ValueError, OverflowError):
        return True


def _born(pid: int) -> str:
    """When a process started, in ticks since the machine did: another process of its number has another.

    A process that has ended and waits to be collected counts as gone.
    """
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else after_name[19]
