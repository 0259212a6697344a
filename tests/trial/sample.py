"""A trial that runs in a tenth of a second."""

from collections.abc import Iterator, Mapping
from typing import Any

from mica.training.protocol import Protocol
from mica.trial import Record, TrialSpec

DATA = {"name": "synthetic", "size": 8, "channels": 1, "classes": 4, "train": 60, "test": 20}
MODEL = {"name": "mlp", "hidden": [16, 16]}
EDGES = 64 * 16 + 16 * 16 + 16 * 4
PROTOCOL = Protocol(epochs=3, batch_size=16, lr=0.05, augment="none")


def tiny(**changes: Any) -> TrialSpec:
    """The tiny trial with some fields changed; `protocol` takes a mapping of its own changes."""
    protocol = PROTOCOL.model_copy(update=changes.pop("protocol", {}))
    fields = {"data": DATA, "model": MODEL, "method": "mica-erk", "log10_ratio": 0.6, "seed": 0}
    return TrialSpec(**{**fields, "protocol": protocol, **changes})


def without_provenance(record: Record) -> dict[str, Any]:
    """All of a record but where and when it was made."""
    return record.model_dump(mode="json", exclude={"provenance"})


class Shelf:
    """A keeper in memory, with a checkpoint of every epoch unless told otherwise."""

    def __init__(self, contents: Mapping[str, bytes] | None = None, every: float = 0.0) -> None:
        self.contents, self.every = dict(contents or {}), every
        self.refused: dict[str, str] = {}

    def found(self) -> Iterator[tuple[str, bytes]]:
        for name in sorted(self.contents, reverse=True):
            yield name, self.contents[name]

    def refuse(self, name: str, reason: str) -> None:
        self.refused[name] = reason
        del self.contents[name]

    def save(self, epoch: int, content: bytes) -> None:
        assert f"{epoch:04}" not in self.contents, "saved twice"
        self.contents[f"{epoch:04}"] = content
