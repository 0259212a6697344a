"""Rounds on Ray: a trial's process, a raylet, the head, the driver are killed or stopped for a while."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.chaos.drivers import ROOT, Stage
from tests.chaos.scene import CLAIM, Outcome, Scene, done, finish
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import Watcher, judge
from tests.services.processes import descendants

_STALL = 5.0
"""Seconds without progress after which a trial's process is given up."""


def ray_round(scene: Scene) -> Outcome:
    """A driver with a Ray of its own, two trials at a time: twice what it gets over, then what ends it; and
    that four times."""
    draw, events = random.Random(scene.seed), Counter[str]()
    options = {"claim": CLAIM, "checkpoint": 0.5, "stall": _STALL, "seeds": 4}
    body = MLP.replace("epochs: 12", "epochs: 120")  # so that something runs most of the time
    expected = scene.expect(body, options)
    file = write_sweep(scene.folder, body, **options)
    with Watcher(scene.folder / "results/chaos") as watcher:
        driver = start(scene.folder)
        ends = draw.sample(_ENDS, len(_ENDS))
        rest = iter(draw.sample(_REST + _REST, 2 * len(ends)))
        for kind in (kind for end in ends for kind in (next(rest), next(rest), end)):
            while not _trials_run(driver) and not done(file, expected):
                driver = start(scene.folder)
            if done(file, expected):
                break
            time.sleep(draw.uniform(0.2, 2))
            if _strike(kind, driver, draw):
                events[kind] += 1
        end(driver, 120)
        with Stage(scene.folder, scene.zygotes, fault=scene.fault) as stage:
            finish(stage, 240)
    return Outcome(events, judge(file, expected, watcher, stage.diary))


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.undrawn", "run", "sweep.yaml", *options],
            cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def _trials_run(driver: subprocess.Popen[bytes]) -> bool:
    """Wait until one runs, for before that there is little to break; False: the driver has ended."""
    while driver.poll() is None:
        if find(driver.pid):
            return True
        time.sleep(0.1)
    return False


def _strike(kind: str, driver: subprocess.Popen[bytes], draw: random.Random) -> bool:
    """Do this to one of a driver's processes; False: there is none of its kind now."""
    title, number, for_a_while = _KINDS[kind]
    found = find(driver.pid, title) if title else [driver.pid]
    if not found or driver.poll() is not None:
        return False
    with suppress(ProcessLookupError):
        os.kill(found[-1], number)
        if for_a_while:
            time.sleep(CLAIM * draw.uniform(1.2, 2))
            os.kill(found[-1], signal.SIGCONT)
    if not title and not for_a_while:
        end(driver, 60)
    return True


_LANE = "Trainable.train"
"""In the title of a process that runs trials."""
_KINDS = {
    "trial's process SIGKILL": (_LANE, signal.SIGKILL, False),
    "trial's process SIGSTOP, for a while": (_LANE, signal.SIGSTOP, True),
    "trial's process SIGSTOP, to the end": (_LANE, signal.SIGSTOP, False),
    "raylet SIGKILL": ("raylet/raylet", signal.SIGKILL, False),
    "raylet SIGSTOP, for a while": ("raylet/raylet", signal.SIGSTOP, True),
    "head (GCS) SIGKILL": ("gcs_server", signal.SIGKILL, False),
    "head (GCS) SIGSTOP, for a while": ("gcs_server", signal.SIGSTOP, True),
    "driver on Ray SIGKILL": ("", signal.SIGKILL, False),
    "driver on Ray SIGSTOP, for a while": ("", signal.SIGSTOP, True),
    "driver on Ray SIGTERM": ("", signal.SIGTERM, False),
}
"""What is done → a part of the process's title (none: the driver), the signal, whether it goes on again after
longer than a claim."""
_ENDS = [kind for kind, (title, _, for_a_while) in _KINDS.items() if title != _LANE and not for_a_while]
_REST = [kind for kind in _KINDS if kind not in _ENDS]


def find(root: int, title: str = _LANE) -> list[int]:
    """The processes below one whose title holds this; by default those that run trials."""
    return [pid for pid in descendants(root) if title in _title(pid)]


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def end(driver: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a driver's end; one that has none is killed, with all that it has started."""
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in [*descendants(driver.pid), driver.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.wait()
        raise AssertionError(f"the driver did not end within {seconds:.0f} s") from None
