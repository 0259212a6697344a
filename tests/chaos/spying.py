"""What is changed in a driver's process before it runs: it notes what it does, or dies where it is told.

Nothing of this is in mica itself: a driver of the suite is mica's own command line with these patches.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.diary import note
from tests.undrawn import undrawn


def spy() -> None:
    """Note when a trial starts and ends, and every epoch."""
    from mica.sweep.drive import here
    from mica.sweep.store.claims import Claims
    from mica.trial import attempt

    def run_and_store(spec: Any, *args: Any, **kwargs: Any) -> Any:
        note("start", key=spec.key)
        record = original(spec, *args, **kwargs)
        note("end", key=spec.key, outcome=record.outcome)
        return record

    def train_together(*args: Any, **kwargs: Any) -> Any:
        for found in original_train(*args, **kwargs):
            for _, epoch in found:
                note("epoch", epoch=epoch.number)
            yield found

    def take(self: Claims, what: str) -> bool:
        won = original_take(self, what)
        if won:
            note("claim", key=what, number=self._held[what])
        return won

    undrawn()
    original, original_take, original_train = here.run_and_store, Claims.take, attempt.train_together
    here.run_and_store, Claims.take, attempt.train_together = run_and_store, take, train_together


def die_at(steps: int) -> None:
    """SIGKILL to oneself after so many training steps."""
    left = [steps]

    def die() -> None:
        left[0] -= 1
        if left[0] < 0:
            note("died")
            os.kill(os.getpid(), signal.SIGKILL)

    _before_each_step(die)


def die_after_epochs(epochs: int) -> None:
    """SIGKILL to oneself right after so many epochs, checkpoint included."""
    from mica.sweep.store.checkpoints import StoredCheckpoints

    left = [epochs]

    def save(self: StoredCheckpoints, epoch: int, content: bytes) -> None:
        original(self, epoch, content)
        left[0] -= 1
        if left[0] <= 0:
            note("died")
            os.kill(os.getpid(), signal.SIGKILL)

    original = StoredCheckpoints.save
    StoredCheckpoints.save = save  # type: ignore[method-assign]


def slow_steps(seconds: float) -> None:
    """Every training step takes so much longer, so that something can happen meanwhile."""
    _before_each_step(lambda: time.sleep(seconds))


def _before_each_step(act: Callable[[], None]) -> None:
    """Do this before every training step, in whatever way a network learns."""
    from mica.edgewise.learning import ChainLearner
    from mica.training.learner import EagerLearner

    def patch(kind: Any) -> None:
        original = kind.__call__

        def call(self: Any, pixels: Any, labels: Any) -> Any:
            act()
            return original(self, pixels, labels)

        kind.__call__ = call

    patch(ChainLearner)
    patch(EagerLearner)


ORDERS: dict[str, Callable[..., None]] = {
    "die_at": die_at,
    "die_after_epochs": die_after_epochs,
    "slow_steps": slow_steps,
}
"""What a driver can be told to do, by name."""


def prepare(patches: list[list[Any]]) -> None:
    """Spy, and do what is ordered: `[name, value]` each; `["fault", name]` plants one."""
    from tests.chaos.faults import FAULTS

    spy()
    for name, value in patches:
        if name == "fault":
            FAULTS[value]()
        else:
            ORDERS[name](value)
