"""A real `mica-sweep run`, in a process of its own, to send signals to."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.sweep import user_models
from tests.sweep.sample import write


def slow_sweep(folder: Path, **lines: str) -> Path:
    """One trial, which takes hours at some milliseconds a step; `trial_processes` says where it runs."""
    user_models.write(folder)
    fixed = {"models": "models_of_mine:noting", "methods": "dense", "seeds": "[0]"}
    protocol = "{epochs: 100000, batch_size: 8}"
    more = {**fixed, "resources": "{gpu: 0}", "protocol": protocol, **lines}
    return write(folder, storage=str(folder / "results"), **more)


def trial_processes(folder: Path) -> list[int]:
    """Processes that the trial has trained in, the last one last."""
    with contextlib.suppress(FileNotFoundError):
        return [int(line) for line in (folder / "processes").read_text().split()]
    return []


class Driver:
    """The process, and those that it has started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        """On both of its streams; folded lines as one."""
        return " ".join(self._log.read_text().split())

    def wait_for(self, what: Callable[[], object], seconds: float = 240) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def children(self, name: str = "") -> list[psutil.Process]:
        """Its descendants whose program's name holds this."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in found if name in _name(child)]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self, seconds: float) -> int:
        """Its exit code, which comes soon, and after which none of its children lives."""
        children = self.children()
        code = self.process.wait(seconds)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive, [_name(child) for child in alive]
        return code


def _name(process: psutil.Process) -> str:
    try:
        return process.cmdline()[0]
    except (psutil.Error, IndexError):
        return ""


@contextmanager
def driver(path: Path, *options: str) -> Iterator[Driver]:
    log = path.with_name("log")
    command = [sys.executable, "-m", "mica.cli", "run", str(path), *options]
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "RAY_ADDRESS": ""})
    found = Driver(process, log)
    try:
        yield found
    finally:
        if process.poll() is None:
            for child in [*found.children(), process]:
                child.send_signal(signal.SIGKILL)
            process.wait()
