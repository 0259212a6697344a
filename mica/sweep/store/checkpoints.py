"""The checkpoints of one attempt at a trial, in the store."""

import logging
from collections.abc import Iterator
from uuid import uuid4

from mica.sweep.store.layout import CHECKPOINTS
from mica.sweep.store.place import Obstacle, Place

log = logging.getLogger(__name__)

_KEPT = 2
"""The last one, and the one before it in case the last is damaged."""


class StoredCheckpoints:
    """A trial's `Keeper`; attempts of several drivers do not disturb each other."""

    def __init__(self, place: Place, key: str, every: float) -> None:
        """`every`: seconds between two checkpoints."""
        self._place, self._folder, self.every = place, f"{CHECKPOINTS}/{key}", every

    def found(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each, the one of most epochs first."""
        for name in reversed(self._place.list(self._folder)):
            try:
                content = self._place.read(name)
            except Obstacle as error:
                self.refuse(name, str(error))
            else:
                if content is not None:
                    yield name, content

    def refuse(self, name: str, reason: str) -> None:
        """What is no sound checkpoint of this trial goes out of the way."""
        log.warning(
            "%s is no checkpoint to go on from (%s); moved to %s", name, reason, self._place.set_aside(name)
        )

    def save(self, epoch: int, content: bytes) -> None:
        """Store one; those before the last two go."""
        # An attempt's own name: two that are at one trial write no half of each other's.
        self._place.create(f"{self._folder}/{epoch:06d}-{uuid4().hex[:8]}.safetensors", content)
        for name in self._place.list(self._folder)[:-_KEPT]:
            self._place.delete(name)

    def clear(self) -> None:
        """The trial has its record: nobody goes on from here."""
        for name in self._place.list(self._folder):
            self._place.delete(name)
