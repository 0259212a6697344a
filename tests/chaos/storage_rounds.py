"""Rounds on storage that fails: a bucket behind a proxy, a full disk, a folder without permission."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.request import Request, urlopen

from tests.chaos import diary
from tests.chaos.drivers import Stage
from tests.chaos.proxy import Mood, Proxy
from tests.chaos.scene import CLAIM, Outcome, Scene, disturb, done, finish, running
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import Watcher, judge
from tests.services.processes import Service, free_port

_SLOW = ("slow_steps", 0.005)


def bucket_round(scene: Scene) -> Outcome:
    """Two drivers on a bucket that is away, slow, or loses the answers to what it has done."""
    draw, events = random.Random(scene.seed), Counter[str]()
    proxy, name = Proxy(_s3()), f"chaos{scene.seed}"
    urlopen(Request(f"http://127.0.0.1:{_s3()}/{name}", method="PUT")).close()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}", "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
    }  # fmt: skip
    os.environ.update(environment)
    options = {"claim": CLAIM, "checkpoint": 1.0}
    expected = scene.expect(MLP, options)
    file = write_sweep(scene.folder, MLP, storage=f"s3://{name}/deep", **options)
    with Stage(scene.folder, scene.zygotes, environment, scene.fault) as stage:
        for _ in range(2):
            stage.start(_SLOW)
        for _ in range(draw.randint(4, 8)):
            time.sleep(draw.uniform(0.5, 2))
            if not running(stage):
                break
            for driver in running(stage):  # whose signs of life nobody may see, either
                diary.tell(stage.diary, "disturbed", whom=driver.pid)
            _upset(draw, proxy, events)
            if draw.random() < 0.3 and (alive := running(stage)):
                disturb(stage, draw.choice(alive), "SIGKILL")
                events["driver SIGKILL on a bucket"] += 1
                stage.start(_SLOW)
        proxy.mood = "well"
        finish(stage, 240)
    found = Outcome(events, judge(file, expected, None, stage.diary))
    proxy.close()
    return found


def _upset(draw: random.Random, proxy: Proxy, events: Counter[str]) -> None:
    """The storage is not well for a while, and then well again."""
    moods: list[tuple[Mood, str, float]] = [
        ("away", "storage away for seconds", draw.uniform(1, 6)),
        ("slow", "storage slow by seconds", draw.uniform(3, 8)),
        ("losing", "answers lost after the write", draw.uniform(1, 4)),
        ("losing", "answers lost after the write", draw.uniform(1, 4)),
    ]
    if draw.random() < 0.2:
        moods = [("away", "storage away for a minute", 60.0)]
    proxy.mood, name, seconds = draw.choice(moods)
    proxy.seconds = draw.uniform(0.5, 2)
    events[name] += 1
    time.sleep(seconds)
    proxy.mood = "well"


@cache
def _s3() -> int:
    """The port of an S3 server that lives as long as this process."""
    port = free_port()
    command = [sys.executable, "-c", f"from moto.server import main; main(['-p', '{port}'])"]
    log = Path(f"/tmp/mica-chaos-s3-{port}.log")
    service = Service(command, log, lambda: _answers(port))
    service.start()
    _KEPT.append(service)
    return port


_KEPT: list[Service] = []
"""Services to end with this process."""


def end_services() -> None:
    """Kill what the rounds have started for all of them."""
    for service in _KEPT:
        service.kill()


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except OSError:
        return False
    return True


def disk_round(scene: Scene) -> Outcome:
    """A driver on a small disk that is full from time to time."""
    draw, events = random.Random(scene.seed), Counter[str]()

    def fill(store: Path) -> Callable[[], None]:
        ballast = store.parent / "ballast"
        with suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        events["disk full"] += 1
        return ballast.unlink

    with _small_disk(scene.folder / "results"):
        return _local_round(scene, draw, events, fill)


def permission_round(scene: Scene) -> Outcome:
    """A driver, without root's privilege, who loses the right to write, and gets it back."""
    draw, events = random.Random(scene.seed), Counter[str]()

    def forbid(store: Path) -> Callable[[], None]:
        places = [path for path in (store, *store.rglob("*")) if path.is_dir()]
        modes = {path: path.stat().st_mode for path in places}
        for path in places:
            path.chmod(0o500)
        events["permission gone and back"] += 1
        return lambda: [path.chmod(mode) for path, mode in modes.items() if path.exists()] and None

    return _local_round(scene, draw, events, forbid, unprivileged=True)


def _local_round(
    scene: Scene, draw: random.Random, events: Counter[str], spoil: Callable[[Path], Callable[[], None]],
    unprivileged: bool = False,
) -> Outcome:  # fmt: skip
    """One driver on a folder that is spoilt for seconds, again and again."""
    options = {"claim": CLAIM, "checkpoint": 0.5}
    expected = scene.expect(MLP, options)
    file = write_sweep(scene.folder, MLP, **options)
    store = scene.folder / "results/chaos"
    store.mkdir(parents=True, exist_ok=True)
    stage = Stage(scene.folder, scene.zygotes, fault=scene.fault, unprivileged=unprivileged)
    with stage, Watcher(store) as watcher:
        for _ in range(draw.randint(6, 10)):
            if done(file, expected):
                break
            if not running(stage):
                stage.start(("slow_steps", 0.01))
            time.sleep(draw.uniform(0.5, 1.5))
            mend = spoil(store)
            time.sleep(draw.choice([0.5, 2.0, 5.0]))
            mend()
        finish(stage, 240)
    return Outcome(events, judge(file, expected, watcher, stage.diary))


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
