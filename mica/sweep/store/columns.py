"""What the tables and the segments are made of: records as Arrow columns, each with its meaning and unit."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, get_args

import pyarrow as pa
from pydantic import BaseModel

from mica.named import Named
from mica.sweep.store.stored import Stored
from mica.training.protocol import Protocol
from mica.trial.record import EpochRow, LayerRow, MaskSummary, Provenance, Results
from mica.trial.spec import TrialSpec

Columns = dict[str, tuple[pa.DataType, str]]
"""Name → type and description."""

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
KEY: Columns = {"trial_key": (_TEXT, "SHA-256 of all that decides the trial's numbers.")}
_LABELS: Columns = {
    "dataset": (_TEXT, "Data set: its title, else its name and options."),
    "model": (_TEXT, "Network: its title, else its name and options."),
    "method": (_TEXT, "Pruner and distribution, with the options of both, under one name."),
    "pruner_title": (_TEXT, "What figures call the pruner; null: by its name."),
    "distribution_title": (_TEXT, "What figures call the distribution; null: by its name."),
}
_AXES: Columns = {
    "sweep": (_TEXT, "Name of the sweep that the trial was first run for."),
    **_LABELS,
    "pruner": (_TEXT, "Decides which edges stay; its name alone."),
    "distribution": (_TEXT, "Decides how many stay in each layer; its name alone."),
    "pruner_options": (_TEXT, "What the pruner has otherwise than by default; empty as a rule."),
    "distribution_options": (_TEXT, "What the distribution has otherwise than by default; empty as a rule."),
    "budget": (_TEXT, "nominal, or corrected: functional counts of the method that it is compared with."),
    "rounding": (_TEXT, "floor or exact."),
    "target": (_TEXT, "What the ratio counts: kept edges, nominal, or functional ones, corrected."),
    "wiring": (_TEXT, "kept, or rewired: the nodes' degrees are the method's, their partners are not."),
    "log10_ratio": (_REAL, "log10 of the compression ratio that was asked for; 0 for dense."),
    "seed": (_WHOLE, "Of all random streams."),
    "classes": (_WHOLE, "Number of outputs."),
    "outcome": (_TEXT, "completed, collapsed (no functional edge), diverged (a loss not finite) or failed."),
    "error": (_TEXT, "Traceback of a failed trial."),
}


def table_of(stored: Iterable[Stored]) -> pa.Table:
    """A row a record: the columns of `trials`, those of `OWN`, and lists of its layers and epochs."""
    items = list(stored)
    lists: dict[str, Sequence[Sequence[BaseModel]]] = {
        "layer_rows": [item.record.layers for item in items],
        "epoch_rows": [item.record.epochs for item in items],
    }
    plain = pa.schema([field for field in SEGMENT if field.name not in lists])
    table = pa.Table.from_pylist([_row_of(item) for item in items], schema=plain)
    for name, rows in lists.items():
        table = table.append_column(SEGMENT.field(name), _lists(rows, SEGMENT.field(name).type))
    return table.select(SEGMENT.names)


def _lists(rows_of: Sequence[Sequence[BaseModel]], kind: pa.ListType) -> pa.Array:
    """A list of rows a record, made column by column: a record has hundreds of rows."""
    rows = list(chain.from_iterable(rows_of))
    columns = []
    for field in kind.value_type:
        values: Iterable[Any] = map(attrgetter(field.name), rows)
        columns.append(pa.array(list(map(_plain, values) if field.type == _TEXT else values), field.type))
    ends = pa.array(list(accumulate(map(len, rows_of), initial=0)), pa.int32())
    return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(columns, fields=list(kind.value_type)))


def labels_of(spec: TrialSpec) -> dict[str, str | None]:
    """What the columns that titles decide say of a trial."""
    method = spec.method
    return {
        "dataset": spec.data.label,
        "model": spec.model.label,
        "method": method.name,
        "pruner_title": method.pruner.title,
        "distribution_title": method.distribution.title,
    }


def _row_of(item: Stored) -> dict[str, Any]:
    record, spec = item.record, item.record.spec
    method = spec.method
    return {
        "name": item.name,
        "code": [{"function": name, "digest": digest} for name, digest in sorted(spec.code.items())],
        "reason": record.reason,
        "trial_key": item.key,
        "sweep": item.sweep,
        **labels_of(spec),
        "pruner": method.pruner.name,
        "distribution": method.distribution.name,
        "pruner_options": _options(method.pruner),
        "distribution_options": _options(method.distribution),
        "classes": record.layers[-1].shape[0] if record.layers else None,
        "outcome": record.outcome,
        "error": record.error,
        **spec.model_dump(include={"budget", "rounding", "target", "wiring", "log10_ratio", "seed"}),
        **_fields(record.mask, "mask_"),
        **{name: getattr(record.moved, name.removeprefix("moved_"), None) for name in _MOVED},
        **_fields(record.results),
        **_fields(spec.protocol, "protocol_"),
        **_fields(record.provenance),
    }


def _options(part: Named) -> str:
    """`node_counts=max, alpha=2`."""
    return ", ".join(f"{name}={value}" for name, value in part.written.items())


_PREFIXED = {"digest", *Protocol.model_fields}
"""Fields whose names need to say in a wide table what they belong to."""


def _fields(part: BaseModel | None, prefix: str = "") -> dict[str, Any]:
    return {_column(name, prefix): _plain(value) for name, value in part} if part else {}


def _column(field: str, prefix: str) -> str:
    return prefix + field if field in _PREFIXED else field


def _plain(value: Any) -> Any:
    """Tuples and mappings as text; the rest as it is."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, BaseModel):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _columns(part: type[BaseModel], prefix: str = "") -> Columns:
    return {
        _column(name, prefix): (_arrow_type(field.annotation), field.description or name)
        for name, field in part.model_fields.items()
    }


def _arrow_type(annotation: Any) -> pa.DataType:
    """Of a field `int`, `float | None`, …; all else is text."""
    options = {getattr(kind, "__origin__", kind) for kind in get_args(annotation) or (annotation,)} - {
        type(None)
    }
    plain = {bool: pa.bool_(), int: _WHOLE, float: _REAL}
    return plain.get(options.pop(), _TEXT) if len(options) == 1 else _TEXT


def _schema(columns: Columns) -> pa.Schema:
    """Types, even where there is no row or nothing but nulls in a column, and descriptions."""
    fields = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in columns.items()]
    return pa.schema(fields)


_MOVED: Columns = {
    f"moved_{name}": (kind, f"After the last epoch, where masks move. {said}")
    for name, (kind, said) in _columns(MaskSummary).items()
    if name in ("edges_functional", "corrected_ratio", "functional_node_share", "digest")
}
_PARTS = _columns(MaskSummary, "mask_") | _MOVED | _columns(Results) | _columns(Protocol, "protocol_")
TRIALS = _schema(KEY | _AXES | _PARTS | _columns(Provenance))
"""The table `trials`."""
LAYERS, EPOCHS = (_schema(KEY | _columns(kind)) for kind in (LayerRow, EpochRow))
"""The tables `layers` and `epochs`."""
OWN = pa.schema(
    [
        ("name", _TEXT),
        ("code", pa.list_(pa.struct([("function", _TEXT), ("digest", _TEXT)]))),
        ("reason", _TEXT),
    ]
)
"""What only a store asks for: the record's name, the user's own code, the last line of an error."""
SEGMENT = pa.schema(
    [
        *OWN,
        *TRIALS,
        *(pa.field(name, pa.list_(pa.struct(list(kind)[1:]))) for name, kind in
          (("layer_rows", LAYERS), ("epoch_rows", EPOCHS))),
    ]
)  # fmt: skip
"""A segment: a row a record."""
