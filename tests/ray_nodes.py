"""A Ray cluster of several nodes on one machine, started as people start one: `ray start`, each by itself."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.processes import descendants, free_port, wait_until_gone

ROOT = Path(__file__).parent.parent
_RAY = str(Path(sys.executable).with_name("ray"))
_START_SECONDS, _TRIES = 60.0, 3
"""Seconds of one start, and how often it is tried: where many nodes start Ray may give up."""
_MEMORY = 100_000_000
"""Bytes of each node's object store."""
_KEPT = {"RAY_worker_niceness"}
"""Of what this process has set for Ray."""


@dataclass(eq=False)
class Node:
    """One node's processes."""

    process: subprocess.Popen[bytes]
    host: str
    """The IP address that it goes by."""

    def send(self, number: signal.Signals) -> None:
        """To all of them."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def kill(self) -> None:
        """All at once, as when a plug is pulled."""
        found = descendants(self.process.pid)
        self.send(signal.SIGKILL)
        self.process.wait()
        assert wait_until_gone(found, 10)


@dataclass
class Nodes:
    """A head and the nodes that have joined it."""

    folder: Path
    port: int
    environment: Mapping[str, str]
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(
        self,
        *options: str,
        cpus: int = 1,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        wait: bool = True,
    ) -> Node:
        """Start one more node.

        Args:
            before: a program and its arguments that is to start Ray.
            wait: until it has joined.
        """
        number = len(self.nodes)
        host = f"127.0.0.{number + 1}"
        where = ["--head", f"--port={self.port}", "--node-ip-address=127.0.0.1"]
        if self.nodes:
            where = [f"--address={self.address}", f"--node-ip-address={host}"]
        for _ in range(_TRIES):
            log = self.folder / f"node-{number}.log"
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    [*before, _RAY, "start", "--block", *where, f"--num-cpus={cpus}",
                     f"--object-store-memory={_MEMORY}", f"--temp-dir={self.folder}/ray",
                     f"--dashboard-agent-listen-port={free_port()}", "--include-log-monitor=false", *options],
                    stdout=output, stderr=output, start_new_session=True, cwd="/",
                    env={**self.environment, **(environment or {})},
                )  # fmt: skip
            self.nodes[number:] = [Node(process, host)]
            if not wait or _joined(process, log):
                return self.nodes[number]
            self.nodes[number].kill()
        raise AssertionError(log.read_text()[-3000:])

    def id_of(self, node: Node) -> str:
        """Ray's name of it; of a cluster without tokens."""
        from ray._raylet import GcsClient

        found = GcsClient(address=self.address).get_all_node_info(timeout=10)
        return next(id.hex() for id, about in found.items() if about.node_manager_address == node.host)


def _joined(process: subprocess.Popen[bytes], log: Path) -> bool:
    until = time.monotonic() + _START_SECONDS
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def ray_nodes(
    token: str | None = None,
    head: Sequence[str] = ("--include-dashboard=false",),
    environment: Mapping[str, str] | None = None,
    *,
    cpus: int = 0,
) -> Iterator[Nodes]:
    """A head alone, which runs nothing by itself where it has no cores; `token`: what its processes ask for.

    Its files lie below a short path of their own: sockets have names of at most 107 bytes.
    """
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    everywhere = {
        **{name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith("RAY_")},
        **tokens,
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        **(environment or {}),
    }
    folder = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))
    cluster = Nodes(folder, free_port(), everywhere)
    try:
        cluster.add(*head, "--num-gpus=0", cpus=cpus)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            if node.process.poll() is None:
                node.kill()
        shutil.rmtree(folder, ignore_errors=True)
