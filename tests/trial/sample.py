"""A trial that runs in a tenth of a second."""

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
