"""What MLflow is told about one trial: a record as tags, parameters, metrics and a table of layers."""

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from mica.trial.record import LayerRow, Record
from mica.trial.spec import TrialSpec

VERSION = 3
"""Raised when any of this changes, so that `sync` replaces what older versions have logged."""
_BEGIN = f"{VERSION}-"
_CURVES = ("train_loss", "train_top1", "val_loss", "val_top1", "test_loss", "test_top1")
NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a run's or an experiment's description."""

Point = tuple[str, float, int, int]
"""Name, value, time in milliseconds, step."""


def digest(record: Record) -> str:
    """Of all that is told about a record; it begins as `current` wants it."""
    return f"{_BEGIN}{hashlib.sha256(record.model_dump_json().encode()).hexdigest()[:16]}"


def current(digest: str | None) -> bool:
    """Whether what has this digest was told as it would be told now."""
    return digest is not None and digest.startswith(_BEGIN)


def tags(record: Record) -> dict[str, str]:
    """How and where a trial ended; of a failed one the traceback, as the run's description."""
    found = {
        "outcome": record.outcome,
        "host": record.provenance.host,
        "device": record.provenance.device,
        "mica.version": record.provenance.versions.get("mica", ""),
    }
    if record.error:
        found[NOTE] = f"```\n{record.error[-5000:]}\n```"  # the end says what went wrong
    return found


def params(spec: TrialSpec) -> dict[str, str]:
    """The axes that one filters and groups by, and the whole protocol; what is null is left out."""
    method = spec.method
    found = {
        "dataset": spec.data.label,
        "model": spec.model.label,
        "method": spec.method.name,
        "pruner": method.pruner.name,
        "distribution": method.distribution.name,
        **spec.model_dump(include={"budget", "log10_ratio", "seed", "rounding", "target", "wiring"}),
        **{f"protocol.{name}": value for name, value in spec.protocol},
    }
    return {name: _text(value) for name, value in found.items() if value is not None}


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def metrics(record: Record) -> list[Point]:
    """Curves over epochs and final numbers; null and infinite values are left out.

    The final `test_top1` is the last point of its curve. Times are the trial's own, its epochs taken
    as equally long, so that the same record always gives the same points.
    """
    found = {(name, step): (value, step) for name, value, step in _values(record)}
    return [
        (name, float(value), _time(record, step), step)
        for (name, step), (value, _) in found.items()
        if value is not None and math.isfinite(value)
    ]


def _values(record: Record) -> Iterator[tuple[str, float | None, int]]:
    for row in record.epochs:
        yield from ((name, getattr(row, name), row.epoch) for name in _CURVES)
    results = record.results.model_dump()
    last = results.pop("epochs")
    yield from ((name, value, last) for name, value in results.items())
    yield "epochs", last, last
    for name in ("seconds_data", "seconds_mask", "seconds_train"):
        yield name, getattr(record.provenance, name), last
    # Also a parameter; as a metric it can be an axis of a chart.
    yield "log10_ratio", record.spec.log10_ratio, 0
    if record.mask is not None:
        numbers = record.mask.model_dump(exclude={"digest", "outputs_reached"})
        yield from ((name, value, 0) for name, value in numbers.items())
        if record.mask.corrected_ratio:
            yield "log10_corrected_ratio", math.log10(record.mask.corrected_ratio), 0


def started(record: Record) -> int:
    """When the trial began, in milliseconds."""
    return round(1000 * datetime.fromisoformat(record.provenance.started).timestamp())


def ended(record: Record) -> int:
    """When the trial ended, in milliseconds."""
    return _time(record, record.results.epochs)


def _time(record: Record, epoch: int) -> int:
    where = record.provenance
    done = epoch / record.results.epochs if record.results.epochs else 1.0
    seconds = where.seconds_data + where.seconds_mask + done * where.seconds_train
    return started(record) + round(1000 * seconds)


def layers_csv(layers: Sequence[LayerRow]) -> str:
    """The mask layer by layer, as in the table `layers`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", *(name for name in LayerRow.model_fields if name != "name")])
    for row in layers:
        values = row.model_dump()
        values["shape"] = "x".join(map(str, row.shape))
        writer.writerow(values.values())
    return text.getvalue()
