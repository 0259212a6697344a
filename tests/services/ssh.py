"""An ssh daemon of our own on this machine, and a client that reaches it as several hosts."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.processes import Service, free_port


@contextmanager
def running_sshd(folder: Path, home: Path) -> Iterator[str]:
    """Yields the command that reaches it, in place of `ssh`; `home`: whoever logs in finds as his."""
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    Path("/run/sshd").mkdir(exist_ok=True)  # else it refuses to start
    port = free_port()
    options = {
        "Port": port, "ListenAddress": "0.0.0.0", "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized", "PidFile": folder / "pid",
        "PasswordAuthentication": "no", "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "yes",
        "SetEnv": f"HOME={home}",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    log = folder / "sshd.log"
    daemon = Service(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")],
        log,
        lambda: log.exists() and "listening" in log.read_text(),
    )
    daemon.start()
    trust = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={folder}/known -o LogLevel=ERROR"
    try:
        yield f"ssh -p {port} -i {folder}/user -o BatchMode=yes {trust}"
    finally:
        daemon.kill()
