"""`cluster/machines` over a real ssh daemon: this machine, under two addresses, as two hosts."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import rows_of
from tests.ray_nodes import ROOT
from tests.services.processes import free_port
from tests.services.ssh import running_sshd

SCRIPTS = ROOT / "cluster/machines"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """As in a shell on the head with mica's virtual environment, in a home of its own."""
    home = tmp_path / "home"
    for folder in (home, tmp_path / "ssh"):
        folder.mkdir()
    with running_sshd(tmp_path / "ssh", home) as ssh:
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "MICA_SSH": ssh,
            "MICA_PORT": str(free_port()),
        }


def call(environment: Mapping[str, str], folder: Path, *command: str) -> str:
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_started_examined_used_and_stopped(environment: Mapping[str, str], tmp_path: Path) -> None:
    file = write_sweep(tmp_path, MLP)
    (tmp_path / "hosts").write_text(
        "# two of them\n127.0.0.1 --num-cpus=1\n\n127.0.0.2 --num-cpus=1 # small\n"
    )
    said = call(environment, tmp_path, str(SCRIPTS / "start.sh"), "hosts")
    try:
        assert "127.0.0.1: Ray runs\n127.0.0.2: Ray runs\n" in said
        # Literally what the script says to type.
        exports = next(line.strip() for line in said.splitlines() if "export" in line)
        for command in ("doctor", "run"):
            print(call(environment, tmp_path, "bash", "-c", f"{exports}; mica-sweep {command} sweep.yaml"))
        assert len(rows_of(file)) == 21
        again = subprocess.run(
            [str(SCRIPTS / "start.sh"), "hosts"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert again.returncode == 1 and "runs there already" in again.stderr
    finally:
        said = call(environment, tmp_path, str(SCRIPTS / "stop.sh"), "hosts")
    assert said == "127.0.0.2: ended\n127.0.0.1: ended\n"
    left = subprocess.run(["pgrep", "-f", f"mica-{os.environ.get('USER', 'root')}-127"], capture_output=True)
    assert left.returncode == 1, left.stdout
    assert (tmp_path / "home/.mica-cluster/token").stat().st_mode & 0o77 == 0
