"""Records as three Parquet tables: a row a trial, a row a layer, a row an epoch."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from mica.named import Named
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import TABLES
from mica.sweep.store.records import Stored
from mica.training.protocol import Protocol
from mica.trial.record import EpochRow, LayerRow, MaskSummary, Provenance, Results

Columns = dict[str, tuple[pa.DataType, str]]
"""Name → type and description."""

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
_KEY: Columns = {"trial_key": (_TEXT, "SHA-256 of all that decides the trial's numbers.")}
_AXES: Columns = {
    "sweep": (_TEXT, "Name of the sweep that the trial was first run for."),
    "dataset": (_TEXT, "Data set: its title, else its name and options."),
    "model": (_TEXT, "Network: its title, else its name and options."),
    "method": (_TEXT, "Pruner and distribution, with the options of both, under one name."),
    "pruner": (_TEXT, "Decides which edges stay; its name alone."),
    "distribution": (_TEXT, "Decides how many stay in each layer; its name alone."),
    "pruner_options": (_TEXT, "What the pruner has otherwise than by default; empty as a rule."),
    "distribution_options": (_TEXT, "What the distribution has otherwise than by default; empty as a rule."),
    "pruner_title": (_TEXT, "What figures call the pruner; null: by its name."),
    "distribution_title": (_TEXT, "What figures call the distribution; null: by its name."),
    "budget": (_TEXT, "nominal, or corrected: functional counts of the method that it is compared with."),
    "rounding": (_TEXT, "floor or exact."),
    "log10_ratio": (_REAL, "log10 of the nominal compression ratio; 0 for dense."),
    "seed": (_WHOLE, "Of all random streams."),
    "classes": (_WHOLE, "Number of outputs."),
    "outcome": (_TEXT, "completed, collapsed (no functional edge), diverged (a loss not finite) or failed."),
    "error": (_TEXT, "Traceback of a failed trial."),
}


def write_tables(stored: Iterable[Stored], folder: Folder) -> dict[str, pa.Table]:
    """Write trials, layers and epochs; returns the tables by their names below the folder."""
    items = list(stored)
    found = {
        f"{TABLES}/trials.parquet": trials_table(items),
        f"{TABLES}/layers.parquet": layers_table(items),
        f"{TABLES}/epochs.parquet": epochs_table(items),
    }
    for name, table in found.items():
        buffer = BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        folder.write(name, buffer.getvalue())
    return found


def trials_table(stored: Iterable[Stored]) -> pa.Table:
    """A row a trial, its columns documented in the fields' metadata; likewise below."""
    parts = _columns(MaskSummary, "mask_") | _columns(Results) | _columns(Protocol, "protocol_")
    rows = [_trial_row(item) for item in _sorted(stored)]
    return pa.Table.from_pylist(rows, schema=_schema(_KEY | _AXES | parts | _columns(Provenance)))


def layers_table(stored: Iterable[Stored]) -> pa.Table:
    """A row a trial and layer."""
    return _parts_table([(item.key, row) for item in _sorted(stored) for row in item.record.layers], LayerRow)


def epochs_table(stored: Iterable[Stored]) -> pa.Table:
    """A row a trial and epoch."""
    return _parts_table([(item.key, row) for item in _sorted(stored) for row in item.record.epochs], EpochRow)


def _parts_table(rows: Sequence[tuple[str, BaseModel]], kind: type[BaseModel]) -> pa.Table:
    """Column by column: there may be a million epochs."""
    values = {name: [_plain(getattr(row, name)) for _, row in rows] for name in kind.model_fields}
    return pa.table({"trial_key": [key for key, _ in rows], **values}, schema=_schema(_KEY | _columns(kind)))


def _trial_row(item: Stored) -> dict[str, Any]:
    record, spec = item.record, item.record.spec
    method = spec.method
    return {
        "trial_key": item.key,
        "sweep": item.sweep,
        "dataset": spec.data.label,
        "model": spec.model.label,
        "method": method.name,
        "pruner": method.pruner.name,
        "distribution": method.distribution.name,
        "pruner_options": _options(method.pruner),
        "distribution_options": _options(method.distribution),
        "pruner_title": method.pruner.title,
        "distribution_title": method.distribution.title,
        "classes": record.layers[-1].shape[0] if record.layers else None,
        "outcome": record.outcome,
        "error": record.error,
        **spec.model_dump(include={"budget", "rounding", "log10_ratio", "seed"}),
        **_row(record.mask, "mask_"),
        **_row(record.results),
        **_row(spec.protocol, "protocol_"),
        **_row(record.provenance),
    }


def _options(part: Named) -> str:
    """`node_counts=max, alpha=2`."""
    return ", ".join(f"{name}={value}" for name, value in part.written.items())


_PREFIXED = {"digest", *Protocol.model_fields}
"""Fields whose names need to say in a wide table what they belong to."""


def _row(part: BaseModel | None, prefix: str = "") -> dict[str, Any]:
    values = part.model_dump(mode="json") if part else {}
    return {_column(name, prefix): _plain(value) for name, value in values.items()}


def _column(field: str, prefix: str) -> str:
    return prefix + field if field in _PREFIXED else field


def _plain(value: Any) -> Any:
    """Tuples and mappings as text; the rest as it is."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _columns(part: type[BaseModel], prefix: str = "") -> Columns:
    return {
        _column(name, prefix): (_arrow_type(field.annotation), field.description or name)
        for name, field in part.model_fields.items()
    }


def _arrow_type(annotation: Any) -> pa.DataType:
    """Of a field `int`, `float | None`, …; all else is text."""
    options = set(get_args(annotation)) - {type(None)} or {annotation}
    plain = {bool: pa.bool_(), int: _WHOLE, float: _REAL}
    return plain.get(options.pop(), _TEXT) if len(options) == 1 else _TEXT


def _schema(columns: Columns) -> pa.Schema:
    """Types, even where there is no row or nothing but nulls in a column, and descriptions."""
    fields = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in columns.items()]
    return pa.schema(fields)


def _sorted(stored: Iterable[Stored]) -> list[Stored]:
    """So that tables do not depend on the order in which trials ended."""
    return sorted(stored, key=_order)


def _order(item: Stored) -> tuple[Any, ...]:
    spec = item.record.spec
    cell = (spec.data.label, spec.model.label, spec.method.name, spec.budget, spec.log10_ratio, spec.seed)
    return (*cell, item.key)
