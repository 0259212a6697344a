"""Rounds on drivers without Ray: kills, stops, clocks, checkpoints, full disks, all drawn from a seed."""

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mica.trial import checkpoint
from tests.chaos.drivers import Driver, Stage
from tests.chaos.scene import CLAIM, Outcome, Scene, disturb, done, finish, running
from tests.chaos.sweeps import CONVOLUTIONS, MLP, write_sweep
from tests.chaos.verdict import Watcher, judge


def drivers_round(scene: Scene) -> Outcome:
    """One, two or four drivers on one store: killed, stopped for longer than a claim, told to end."""
    draw = random.Random(scene.seed)
    options = {"keep": draw.choice(["nothing", "masks"]), "claim": CLAIM}
    if scene.fault == "record_before_kept_files":
        options["keep"] = "masks"
    number = draw.choice([1, 2, 4]) if not scene.fault else 2
    file = write_sweep(scene.folder, MLP, **options)
    expected = scene.expect(MLP, options)
    events: Counter[str] = Counter()
    stage = Stage(scene.folder, scene.zygotes, fault=scene.fault)
    with stage, Watcher(scene.folder / "results/chaos") as watcher:
        slow = ("slow_steps", 0.01)
        for _ in range(number):
            stage.start(slow, clock=_clock(draw, events, scene))
        wake: list[tuple[float, Driver]] = []
        budget = draw.randint(8, 16)
        while not done(file, expected) and sum(events.values()) < budget:
            time.sleep(draw.uniform(0.1, 0.9))
            wake = _wake(wake)
            living = running(stage)
            stopped = [driver for _, driver in wake]
            if awake := [driver for driver in living if driver not in stopped]:
                _strike(draw, draw.choice(awake), events, wake, stage, crowd=number)
            while len(running(stage)) < number:
                stage.start(slow, clock=_clock(draw, events, scene))
        _sleep_through(stage, [driver for _, driver in wake], events, lambda: done(file, expected))
        finish(stage)
    return Outcome(events, judge(file, expected, watcher, stage.diary))


def _sleep_through(
    stage: Stage, stopped: list[Driver], events: Counter[str], over: Callable[[], bool]
) -> None:
    """One more is stopped if it can be, and all that are wake up when the others have done everything."""
    time.sleep(1.5)  # who was started last is at a trial then
    awake = [driver for driver in running(stage) if driver not in stopped]
    if len(awake) > 1 and not over():
        disturb(stage, awake[0], "SIGSTOP")
        stopped.append(awake.pop(0))
        events["driver SIGSTOP"] += 1
    until = time.monotonic() + 20 * CLAIM
    while awake and stopped and not over() and time.monotonic() < until:
        time.sleep(0.1)
    for driver in stopped:
        driver.send(signal.SIGCONT)


def _strike(
    draw: random.Random, driver: Driver, events: Counter[str], wake: list[tuple[float, Driver]],
    stage: Stage, crowd: int,
) -> None:  # fmt: skip
    """Do one thing to one driver."""
    kind = draw.choice(["SIGKILL", "SIGKILL", "SIGSTOP", "SIGTERM", "SIGINT"])
    name = f"driver {kind}" if kind != "SIGKILL" else f"driver SIGKILL, {crowd} on the store"
    events[name] += 1
    disturb(stage, driver, kind)
    if kind == "SIGSTOP":
        wake.append((time.monotonic() + CLAIM * draw.uniform(1.5, 3), driver))
    else:
        driver.wait(8)


def _wake(wake: list[tuple[float, Driver]]) -> list[tuple[float, Driver]]:
    """Let those go on that have been stopped for long enough."""
    for until, driver in wake:
        if until < time.monotonic():
            driver.send(signal.SIGCONT)
    return [item for item in wake if item[0] >= time.monotonic()]


def _clock(draw: random.Random, events: Counter[str], scene: Scene) -> str:
    """How far a new driver's clock is off; sometimes not at all."""
    clock = draw.choice([name for name in scene.zygotes for _ in range(1 if name else 3)])
    if scene.fault == "claims_end_by_the_wall_clock":
        clock = draw.choice(list(scene.zygotes))
    if clock:
        events[f"driver with its clock {clock} off"] += 1
    return clock


def epochs_round(scene: Scene) -> Outcome:
    """A driver dies after any epoch or in the middle of one, again and again; its checkpoints are damaged."""
    draw = random.Random(scene.seed)
    options: dict[str, Any] = {"seeds": 1, "compact": draw.random() < 0.7, "claim": CLAIM}
    body = draw.choice([CONVOLUTIONS, CONVOLUTIONS, MLP])
    file = write_sweep(scene.folder, body, **options)
    expected = scene.expect(body, options)
    events: Counter[str] = Counter()
    seen: dict[str, bytes] = {}
    stage = Stage(scene.folder, scene.zygotes, fault=scene.fault)
    with stage, Watcher(scene.folder / "results/chaos") as watcher:
        for _ in range(draw.randint(8, 14)):
            if done(file, expected):
                break
            order, where = draw.choice([("die_after_epochs", "after"), ("die_at", "within")])
            driver = stage.start((order, draw.randint(1, 8 if where == "after" else 80)))
            if driver.wait(60) == -signal.SIGKILL:
                events[f"driver SIGKILL {where} an epoch"] += 1
            if draw.random() < 0.5 and (kind := _damage(draw, scene.folder / "results/chaos", seen)):
                events[f"checkpoint {kind}"] += 1
        finish(stage)
    return Outcome(+events, judge(file, expected, watcher, stage.diary))


def _damage(draw: random.Random, store: Path, seen: dict[str, bytes]) -> str | None:
    """Spoil a checkpoint of some trial; returns how. `seen`: trial → what one of its checkpoints was."""
    files = sorted(store.glob("checkpoints/*/*.safetensors"))
    if not files:
        return None
    file = draw.choice(files)
    trial, content = file.parent.name, file.read_bytes()
    seen.setdefault(trial, content)
    kind = draw.choice(["truncated", "flipped", "of another trial", "of another version"])
    if kind == "truncated":
        content = content[: draw.randrange(len(content))]
    elif kind == "flipped":
        place = draw.randrange(len(content))
        content = content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]
    elif kind == "of another version":
        content = _of_version(content, 99)
    else:
        others = [seen[other] for other in sorted(seen) if other != trial]
        if not others:
            return None
        content = draw.choice(others)
    file.write_bytes(content)
    return kind


def _of_version(content: bytes, version: int) -> bytes:
    """The same checkpoint, sound, as another mica's; what is spoilt already stays as it is."""
    other = content.replace(b'{\\"version\\":1', b'{\\"version\\":%d' % (version % 10))
    signature = re.search(rb'"sha256":"([0-9a-f]{64})"', other)
    if signature is None:
        return content
    start, end = signature.span(1)
    return checkpoint._signed(other[:start] + b"0" * 64 + other[end:])
