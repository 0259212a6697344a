"""How a run stands: what a driver says of itself with each sign of life, for `status` on any machine."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mica.sweep.drive.progress import Running


class Standing:
    """Told of what runs; says it together with how much is left, and for how long."""

    def __init__(self, left: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`left`: how many trials have not ended, now and whenever it is asked."""
        self._left, self._clock, self._begun = left, clock, clock()
        self._total = left()
        self._running: list[Running] = []

    def progress(self, running: list[Running]) -> None:
        """These run now."""
        self._running = running

    def say(self) -> dict[str, Any]:
        """What goes into a sign of life."""
        return {
            "running": [asdict(item) for item in self._running],
            "left": self._left(),
            "seconds_to_go": self.seconds_to_go,
        }

    @property
    def seconds_to_go(self) -> float | None:
        """By the pace so far, of all drivers together; None: nothing has ended yet."""
        share = sum(item.share for item in self._running)
        left = self._left()
        done = self._total - left + share
        return (left - share) * (self._clock() - self._begun) / done if done > 0 else None
