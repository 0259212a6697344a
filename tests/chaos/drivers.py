"""Drivers of a sweep as the suite sees them: started, stopped, killed, started again."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.chaos.zygote import NOT_BEGUN

ROOT = Path(__file__).parents[2]
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Zygote:
    """Splits drivers off; `clock` is how far its processes' wall clock is off, such as `+1h`."""

    def __init__(self, clock: str = "") -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "MICA_CHAOS_DIARY": os.devnull,
        }
        if clock:
            if not _FAKETIME.exists():
                raise FileNotFoundError(f"{_FAKETIME}: the Debian package faketime is missing")
            environment |= {
                "LD_PRELOAD": str(_FAKETIME), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self.codes: dict[int, int] = {}
        """Process → exit code, of those that have ended."""

    def close(self) -> None:
        """End it, and its children."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def fork(self, order: dict[str, Any]) -> int:
        """A driver; returns its process."""
        return int(self._ask(order)["started"])

    def reap(self) -> None:
        """See who has ended."""
        answer = self._ask("reap")
        while answer["ended"] is not None:
            self.codes[answer["ended"]] = answer["code"]
            answer = self._answer()

    def _ask(self, order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@dataclass
class Driver:
    """One driver's process."""

    zygote: Zygote
    pid: int
    disturbed: bool = False
    """Killed or stopped by the suite at any time."""

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        self.zygote.reap()
        code = self.zygote.codes.get(self.pid)
        assert code != NOT_BEGUN, "a driver of the suite could not begin: output.txt says why"
        return code

    def send(self, number: signal.Signals) -> None:
        """A signal to the process alone."""
        self.disturbed = True
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Its exit code once it has ended; None: it has not in time."""
        end = time.monotonic() + seconds
        while (code := self.code) is None and time.monotonic() < end:
            time.sleep(0.05)
        return code


@dataclass
class Stage:
    """A sweep's folder, and those who drive it."""

    folder: Path
    zygotes: dict[str, Zygote]
    """By their clocks."""
    environment: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    """Planted into every driver."""
    unprivileged: bool = False
    """Whether permission bits count for the drivers, although root starts them."""
    drivers: list[Driver] = field(default_factory=list)

    @property
    def diary(self) -> Path:
        """Where the drivers note what they do."""
        return self.folder / "diary.jsonl"

    def start(self, *patches: tuple[str, Any], clock: str = "", arguments: tuple[str, ...] = ()) -> Driver:
        """Another driver on the sweep."""
        zygote = self.zygotes[clock]
        planted = [["fault", self.fault]] if self.fault else []
        order = {
            "arguments": ["run", "sweep.yaml", "--here", *arguments],
            "environment": {"MICA_CHAOS_DIARY": str(self.diary), **self.environment},
            "folder": str(self.folder),
            "output": str(self.folder / "output.txt"),
            "patches": [*map(list, patches), *planted],
            "unprivileged": self.unprivileged,
        }
        driver = Driver(zygote, zygote.fork(order))
        self.drivers.append(driver)
        return driver

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for driver in self.drivers:
            if driver.code is None:
                driver.send(signal.SIGKILL)
        for driver in self.drivers:
            driver.wait(10)
