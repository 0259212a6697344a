"""Outside programs that tests start, stop, kill and start again."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_START_SECONDS = 90.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Service:
    """One program with all the processes that it starts, in a session of its own."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """`user`: to run as, in place of this one."""
        self._command, self._log, self._ready, self._user = command, log, ready, user
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment,
                cwd="/",
                user=self._user,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._ready():
            assert self._process.poll() is None and time.monotonic() < until, self._log.read_text()[-3000:]
            time.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        """To all its processes; some of PostgreSQL's lead groups of their own."""
        assert self._process is not None
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """All at once, as when the machine loses power."""
        if self._process is None:
            return
        found = descendants(self._process.pid)
        self.send(signal.SIGKILL)
        self._process.wait()
        self._process = None
        assert wait_until_gone(found, 10)


def descendants(pid: int) -> list[int]:
    """All processes that it has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def wait_until_gone(pids: Sequence[int], seconds: float) -> bool:
    """Whether all these processes end within so many seconds."""
    until = time.monotonic() + seconds
    while any(runs(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(runs(pid) for pid in pids)


def runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and that nobody has asked after is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
