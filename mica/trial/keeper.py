"""Keeper: the checkpoints of one trial, wherever they are."""

from collections.abc import Iterator
from typing import Protocol


class Keeper(Protocol):
    """Where the checkpoints of one trial are."""

    every: float
    """Seconds between two checkpoints."""

    def found(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each that is there, the newest first. May raise `OSError`."""

    def refuse(self, name: str, reason: str) -> None:
        """Set one aside that is not sound. May raise `OSError`."""

    def save(self, epoch: int, content: bytes) -> None:
        """Keep the checkpoint after so many epochs. May raise `OSError`.

        It may be asked again for the same number: where a save was broken off, or a trial began again.
        """
