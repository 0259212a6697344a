"""What the rounds share: where they play, and how they end."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import diary
from tests.chaos.drivers import Driver, Stage, Zygote
from tests.chaos.verdict import Verdict

CLAIM = 3.0
"""Seconds of a claim in all rounds."""
Rows = dict[str, dict[str, Any]]
"""Trial's key → what is expected of it."""


@dataclass(frozen=True)
class Scene:
    """What a round works with."""

    folder: Path
    seed: int
    zygotes: dict[str, Zygote]
    expect: Callable[[str, dict[str, Any]], Rows]
    """A sweep's text and options → the rows of an undisturbed run."""
    fault: str | None = None


@dataclass
class Outcome:
    """What was done in a round, and what came of it."""

    events: Counter[str]
    verdict: Verdict


def done(file: Path, expected: Rows) -> bool:
    """Whether every trial has its record, by the names of the files; of a local store."""
    return len(list(file.parent.glob("results/chaos/records/*/*.json"))) >= len(expected)


def running(stage: Stage) -> list[Driver]:
    """The drivers that have not ended."""
    return [driver for driver in stage.drivers if driver.code is None]


def disturb(stage: Stage, driver: Driver, kind: str) -> None:
    """Send a driver a signal, and note that what it ran may be taken over."""
    diary.tell(stage.diary, "disturbed", whom=driver.pid)
    driver.send(signal.Signals[kind])


def finish(stage: Stage, seconds: float = 120) -> None:
    """The same line again, undisturbed, until it says that all is done."""
    end = time.monotonic() + seconds
    for driver in stage.drivers:
        driver.wait(end - time.monotonic())
    code = stage.start().wait(seconds)
    if code != 0:
        output = (stage.folder / "output.txt").read_text()[-1500:]
        raise AssertionError(f"the same line again ended with {code}: {output}")
