"""Hosts on one machine: each has a network of its own, in which an ssh daemon listens."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.processes import Service

_LOGGED_IN = ("HOME", "PYTHONPATH", "STEP_SECONDS")
"""What of the environment ssh gives whoever logs in."""


@dataclass(frozen=True)
class Host:
    """They share everything but the network: a folder is a shared folder."""

    name: str
    address: str
    environment: Mapping[str, str]
    """As in a shell there."""

    def command(self, line: str) -> list[str]:
        """What runs a line there, as if it were typed."""
        return ["ip", "netns", "exec", self.name, "bash", "-c", line]

    def call(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(line), env=self.environment, capture_output=True, text=True, timeout=900
        )


@contextmanager
def hosts(folder: Path, count: int, environment: Mapping[str, str]) -> Iterator[Sequence[Host]]:
    """So many of them, which reach each other; $MICA_SSH is how to log in anywhere.

    Args:
        folder: for keys and logs.
        environment: of whoever works there; he has the part that `_LOGGED_IN` names when he logs in, too.
    """
    folder.mkdir()
    ssh = _configure(folder, [f"{name}={environment[name]}" for name in _LOGGED_IN])
    found = [
        Host(f"mica{os.getpid()}-{i}", f"10.99.0.{i + 1}", {**environment, "MICA_SSH": ssh})
        for i in range(count)
    ]
    with ExitStack() as opened:
        for host in found:
            _ip(f"netns add {host.name}")
            opened.callback(_ip, f"netns del {host.name}")
            _ip(f"-n {host.name} link set lo up")
        _connect(found)
        for host in found:
            daemon = _daemon(host, folder)
            daemon.start()
            opened.callback(daemon.kill)
        yield found


def _connect(found: Sequence[Host]) -> None:
    """Each by a cable to a switch, which is the first host's; it is the others' way out too."""
    switch = found[0].name
    _ip(f"-n {switch} link add switch type bridge")
    _ip(f"-n {switch} address add {found[0].address}/24 dev switch")
    _ip(f"-n {switch} link set switch up")
    _ip(f"-n {switch} route add default dev switch")
    for index, host in enumerate(found[1:], 1):
        _ip(f"-n {host.name} link add out type veth peer name to{index} netns {switch}")
        _ip(f"-n {switch} link set to{index} master switch up")
        _ip(f"-n {host.name} address add {host.address}/24 dev out")
        _ip(f"-n {host.name} link set out up")
        _ip(f"-n {host.name} route add default via {found[0].address}")


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _configure(folder: Path, variables: Sequence[str]) -> str:
    """Keys and a configuration for the daemons; returns the client's command."""
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # else it refuses to start
    options = {
        "ListenAddress": "0.0.0.0", "HostKey": folder / "host", "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none", "PasswordAuthentication": "no", "StrictModes": "no", "UsePAM": "no",
        "PermitRootLogin": "yes", "SetEnv": " ".join(variables),
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    trust = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={folder}/known -o LogLevel=ERROR"
    return f"ssh -i {folder}/user -o BatchMode=yes {trust}"


def _daemon(host: Host, folder: Path) -> Service:
    log = folder / f"{host.name}.log"
    return Service(
        host.command(f"exec /usr/sbin/sshd -D -e -f {folder}/config"),
        log,
        lambda: log.exists() and "listening" in log.read_text(),
    )
