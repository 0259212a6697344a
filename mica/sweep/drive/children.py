"""The processes that this one has started, and those that they have started: to end them all."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

Process = tuple[int, str]
"""A process's number, and when it began: the number alone may be another's by now."""


def descendants() -> list[Process]:
    """All of them, parents first."""
    table = _table()
    found: list[Process] = []
    parents = {os.getpid()}
    while parents:
        below = {pid: began for pid, (parent, began) in table.items() if parent in parents}
        found += below.items()
        parents = set(below)
    return found


def end(processes: list[Process]) -> None:
    """Kill those that still live, in this order: a parent that watches over others starts no new ones."""
    table = _table()
    for pid, began in processes:
        if table.get(pid, (0, ""))[1] == began:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _table() -> dict[int, tuple[int, str]]:
    """Process → its parent, and when it began."""
    if Path("/proc/self/stat").exists():
        return {
            int(path.parent.name): row for path in Path("/proc").glob("[0-9]*/stat") if (row := _row(path))
        }
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        lines = subprocess.run(
            ["ps", "-Ao", "pid=,ppid=,lstart="], capture_output=True, text=True, check=True
        )
        rows = [line.split(maxsplit=2) for line in lines.stdout.splitlines()]
        return {int(pid): (int(parent), began) for pid, parent, began in rows}
    return {}


def _row(path: Path) -> tuple[int, str] | None:
    try:
        # A process's name, in brackets, may hold anything.
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return None
    return None if fields[0] == "Z" else (int(fields[1]), fields[19])
