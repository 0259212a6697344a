"""The image and label columns of a parquet file, in the layouts that data set hubs use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mica.data.dataset import Labels
from mica.errors import DataError

IMAGE_NAMES = ("img", "image")
LABEL_NAMES = ("label", "fine_label", "labels")

Path = tuple[str, ...]
"""A column's name, then the fields inside it: ("img", "bytes")."""


class ColumnNames(NamedTuple):
    """The image and the label column as dotted paths."""

    image: str
    label: str


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold the encoded images and the labels."""

    image: Path
    label: Path

    @property
    def names(self) -> ColumnNames:
        """Both as dotted paths."""
        return ColumnNames(".".join(self.image), ".".join(self.label))


def open_parquet(data: pa.NativeFile | pa.BufferReader, file: str) -> pq.ParquetFile:
    """The parquet file in these bytes, its footer read. Raises `DataError`, also when it has no rows."""
    try:
        parquet = pq.ParquetFile(data)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: this is not a parquet file: {error}") from error
    if parquet.metadata.num_rows == 0:
        raise DataError(f"{file}: the table has no rows")
    return parquet


def find_columns(schema: pa.Schema, image: str | None, label: str | None, file: str) -> Columns:
    """The columns asked for, or the usual names where none is. Raises `DataError` listing what is there."""
    return Columns(
        _find(schema, "image", (image,) if image else IMAGE_NAMES, _is_bytes, "encoded image bytes", file),
        _find(schema, "label", (label,) if label else LABEL_NAMES, pa.types.is_integer, "integers", file),
    )


def read_columns(parquet: pq.ParquetFile, columns: Columns, file: str) -> tuple[list[bytes], Labels]:
    """Encoded images and labels of every row. Raises `DataError` for a null, naming its row."""
    images = _read(parquet, columns.image, file)
    labels = _read(parquet, columns.label, file)
    _refuse_nulls(images, columns.names.image, file)
    _refuse_nulls(labels, columns.names.label, file)
    try:
        as_int64 = labels.cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise DataError(f"{file}: column {columns.names.label}: {error}") from error
    return images.to_pylist(), np.ascontiguousarray(as_int64, dtype=np.int64)


def _find(
    schema: pa.Schema,
    what: str,
    names: tuple[str, ...],
    fits: Callable[[pa.DataType], bool],
    wanted: str,
    file: str,
) -> Path:
    for name in names:
        found = _resolve(schema, name)
        if found is None:
            continue
        path, kind = found
        # Hubs wrap the bytes of an image in a struct, beside the name of the file they came from.
        if what == "image" and pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            path, kind = (*path, "bytes"), kind.field("bytes").type
        if not fits(kind):
            raise DataError(f"{file}: column {'.'.join(path)} is of type {kind}; {wanted} are needed")
        return path
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise DataError(f"{file}: no {what} column {' or '.join(names)}; the columns are {there}")


def _resolve(schema: pa.Schema, name: str) -> tuple[Path, pa.DataType] | None:
    # A dot may be part of a column's own name, so the whole name is tried first.
    if schema.get_field_index(name) >= 0:
        return (name,), schema.field(name).type
    head, *rest = name.split(".")
    if schema.get_field_index(head) < 0:
        return None
    kind = schema.field(head).type
    for field in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(field) < 0:
            return None
        kind = kind.field(field).type
    return (head, *rest), kind


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _read(parquet: pq.ParquetFile, path: Path, file: str) -> pa.ChunkedArray:
    try:
        column = parquet.read(columns=[".".join(path)]).column(path[0])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: column {'.'.join(path)} cannot be read: {error}") from error
    for field in path[1:]:
        column = pc.struct_field(column, field)
    return column


def _refuse_nulls(column: pa.ChunkedArray, name: str, file: str) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise DataError(f"{file}: row {row} (from 0): column {name} is null")
