"""`cluster/machines` over real ssh daemons, on hosts that have networks of their own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mica.sweep.store.records import Store
from tests.chaos.ray_rounds import find
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import rows_of
from tests.ray_nodes import ROOT
from tests.services.altered import altered
from tests.services.hosts import Host, hosts
from tests.services.processes import descendants

SCRIPTS = ROOT / "cluster/machines"
PAGE = (SCRIPTS / "README.md").read_text()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Sequence[Host]]:
    """As in shells with mica's virtual environment."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        **altered(step_seconds=0.02),
    }
    with hosts(tmp_path / "ssh", 3, environment) as found:
        yield found


def say(host: Host, line: str) -> str:
    found = host.call(line)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_page_literally(three: Sequence[Host], tmp_path: Path) -> None:
    """Start, doctor, a sweep; in its midst a machine comes and is taken away; stop."""
    head, other, third = three
    file = write_sweep(tmp_path, MLP)
    (tmp_path / "hosts").write_text(
        f"# two of them\n{head.address} --num-cpus=1\n\n{other.address} --num-cpus=1 # small\n"
    )
    there = f"cd {tmp_path}"
    said = say(head, f"{there}; {SCRIPTS}/start.sh hosts")
    try:
        assert f"{head.address}: Ray runs\n{other.address}: Ray runs\n" in said
        exports = next(line.strip() for line in said.splitlines() if "export" in line)
        print(say(head, f"{there}; {exports}; mica-sweep doctor {file}"))
        sweep = subprocess.Popen(
            head.command(f"{there}; {exports}; exec mica-sweep run {file}"), env=head.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            _come_and_go(third, exports, f"{head.address}:6390")
            output, _ = sweep.communicate(timeout=900)
        finally:
            sweep.kill()
        assert sweep.returncode == 0, output
        assert len(rows_of(file)) == 21 and not Store(str(tmp_path / "results/chaos")).failures()
        again = head.call(f"{there}; {SCRIPTS}/start.sh hosts")
        assert again.returncode == 1 and "runs there already" in again.stderr
    finally:
        said = say(head, f"{there}; {SCRIPTS}/stop.sh hosts")
    assert said == f"{other.address}: ended\n{head.address}: ended\n"
    left = subprocess.run(["pgrep", "-f", "mica-[a-z]*-10.99"], capture_output=True)
    assert left.returncode == 1, left.stdout
    assert (tmp_path / "home/.mica-cluster/token").stat().st_mode & 0o77 == 0


def _come_and_go(host: Host, exports: str, address: str) -> None:
    """By the page's own two lines."""
    join, drain = (
        re.search(rf"^    (.*{command}.*)$", PAGE, re.MULTILINE)
        for command in ("ray start", "ray drain-node")
    )
    assert join and drain
    line = join[1].replace("ADDRESS:6390", address) + " --num-cpus=1"
    ray = subprocess.Popen(
        host.command(f"exec env {line}"), env=host.environment, stdout=subprocess.DEVNULL, cwd="/",
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait(lambda: bool(find(ray.pid)))
        say(host, f"{exports}; {drain[1]}")
        _wait(lambda: not find(ray.pid))
    finally:
        for pid in [ray.pid, *descendants(ray.pid)]:
            subprocess.run(["kill", "-KILL", str(pid)], capture_output=True)
        ray.wait()


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)
