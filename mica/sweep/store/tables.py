"""Records as three Parquet tables: a row a trial, a row a layer, a row an epoch."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

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
    "dataset": (_TEXT, "Data set."),
    "model": (_TEXT, "Network."),
    "method": (_TEXT, "Pruner and distribution under one name."),
    "pruner": (_TEXT, "Decides which edges stay."),
    "distribution": (_TEXT, "Decides how many stay in each layer."),
    "budget": (_TEXT, "nominal, or corrected: functional counts of the method that MiCA is compared with."),
    "rounding": (_TEXT, "floor or exact."),
    "node_counts": (_TEXT, "MiCA's choice from equation 3."),
    "log10_ratio": (_REAL, "log10 of the nominal compression ratio; 0 for dense."),
    "seed": (_WHOLE, "Of all random streams."),
    "classes": (_WHOLE, "Number of outputs."),
    "outcome": (_TEXT, "completed, collapsed (no functional edge), diverged (a loss not finite) or failed."),
    "error": (_TEXT, "Traceback of a failed trial."),
}


def write_tables(stored: Iterable[Stored], folder: Folder) -> list[str]:
    """Write trials, layers and epochs; returns their names below the folder."""
    names = []
    for name, table in tables(stored).items():
        buffer = BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        names.append(f"{TABLES}/{name}.parquet")
        folder.write(names[-1], buffer.getvalue())
    return names


def tables(stored: Iterable[Stored]) -> dict[str, pa.Table]:
    """`trials`, `layers` and `epochs`, their columns documented in the fields' metadata."""
    stored = sorted(stored, key=_order)
    layers = [{"trial_key": item.key, **_row(row)} for item in stored for row in item.record.layers]
    epochs = [{"trial_key": item.key, **_row(row)} for item in stored for row in item.record.epochs]
    return {
        "trials": _table([_trial_row(item) for item in stored], _trial_columns()),
        "layers": _table(layers, {**_KEY, **_columns(LayerRow)}),
        "epochs": _table(epochs, {**_KEY, **_columns(EpochRow)}),
    }


def trials_frame(stored: Iterable[Stored]) -> pd.DataFrame:
    """The table `trials` for pandas."""
    frame: pd.DataFrame = tables(stored)["trials"].to_pandas()
    return frame


def _trial_row(item: Stored) -> dict[str, Any]:
    record, spec = item.record, item.record.spec
    method = spec.method
    return {
        "trial_key": item.key,
        "sweep": item.sweep,
        "dataset": spec.data.label,
        "model": spec.model.label,
        "method": spec.method.name,
        "pruner": method.pruner.name,
        "distribution": method.distribution.name,
        "classes": record.layers[-1].shape[0] if record.layers else None,
        "outcome": record.outcome,
        "error": record.error,
        **spec.model_dump(include={"budget", "rounding", "log10_ratio", "seed"}),
        **_row(record.mask, "mask_"),
        **_row(record.results),
        **_row(spec.protocol, "protocol_"),
        **_row(record.provenance),
    }


def _trial_columns() -> Columns:
    parts = _columns(MaskSummary, "mask_") | _columns(Results) | _columns(Protocol, "protocol_")
    return _KEY | _AXES | parts | _columns(Provenance)


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
    return ",".join(map(str, value)) if isinstance(value, list) else value


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


def _table(rows: list[dict[str, Any]], columns: Columns) -> pa.Table:
    """Typed even where there is no row, or nothing but nulls in a column."""
    fields = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in columns.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _order(item: Stored) -> tuple[Any, ...]:
    spec = item.record.spec
    cell = (spec.data.label, spec.model.label, spec.method.name, spec.budget, spec.log10_ratio, spec.seed)
    return (*cell, item.key)
