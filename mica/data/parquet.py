"""Images of one's own: two parquet files, one of training and one of test images."""

import hashlib
from functools import partial

import numpy as np
import pyarrow as pa

from mica.data.columns import ColumnNames, find_columns, open_parquet, read_columns
from mica.data.dataset import Augment, Dataset, DataSource, Labels, data_set, digest_of, shape_text
from mica.data.decode import decode
from mica.data.location import expand, file_digest, open_file, read_file, shown
from mica.data.normalisation import channel_statistics
from mica.errors import DataError

AUGMENT: Augment = "crop-flip"


@data_set("parquet")
def parquet(*, train: str, test: str, image: str | None = None, label: str | None = None) -> DataSource:
    """Encoded images and integer labels from parquet files, as data set hubs lay them out.

    `train` and `test` are local paths (with `~` and `$VARS`) or any URI that `pyarrow.fs` opens.
    `image` and `label` are columns, dotted into structs (`img.bytes`); without them the usual names
    are tried. Raises `DataError` when a file is missing or not of this kind; decodes nothing.
    """
    train, test = expand(train), expand(test)
    columns, train_rows = _inspect(train, image, label)
    _, test_rows = _inspect(test, *columns)
    digest = _digest(file_digest(train), file_digest(test), columns)
    return DataSource(
        name="parquet",
        digest=digest,
        description=f"{train_rows:,} training images from {shown(train)}, "
        f"{test_rows:,} test images from {shown(test)}",
        augment=AUGMENT,
        load=partial(load_parquet, train, test, columns, digest),
        train_images=train_rows,
    )


def load_parquet(train: str, test: str, columns: ColumnNames, digest: str) -> Dataset:
    """Decode both files, if they are still the ones of this digest. Raises `DataError`."""
    train_data, test_data = read_file(train), read_file(test)
    if _digest(_sha256(train_data), _sha256(test_data), columns) != digest:
        raise DataError(
            f"{shown(train)} or {shown(test)}: the content has changed since it was first looked at"
        )
    train_bytes, train_labels = _read(train_data, columns, shown(train))
    test_bytes, test_labels = _read(test_data, columns, shown(test))
    classes = _count_classes(train_labels, f"{shown(train)}: column {columns.label}")
    _check_test_labels(test_labels, classes, f"{shown(test)}: column {columns.label}")

    train_images = decode(train_bytes, shown(train))
    test_images = decode(test_bytes, shown(test), channels=train_images.shape[1])
    if test_images.shape[1:] != train_images.shape[1:]:
        raise DataError(
            f"{shown(test)}: test images are {shape_text(test_images)}, but the training images in "
            f"{shown(train)} are {shape_text(train_images)}"
        )
    mean, std = channel_statistics(train_images)
    return Dataset(
        name="parquet",
        classes=classes,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=mean,
        std=std,
        augment=AUGMENT,
    )


def _inspect(place: str, image: str | None, label: str | None) -> tuple[ColumnNames, int]:
    """A file's columns and number of rows, from its footer alone."""
    with open_file(place) as data:
        table = open_parquet(data, shown(place))
        columns = find_columns(table.schema_arrow, image, label, shown(place))
        return columns.names, table.metadata.num_rows


def _read(data: pa.Buffer, columns: ColumnNames, file: str) -> tuple[list[bytes], Labels]:
    table = open_parquet(pa.BufferReader(data), file)
    return read_columns(table, find_columns(table.schema_arrow, *columns, file), file)


def _sha256(data: pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest(train: str, test: str, columns: ColumnNames) -> str:
    return digest_of("parquet", train, test, *columns)


def _count_classes(labels: Labels, where: str) -> int:
    """K, when the training labels are exactly 0..K-1. Raises `DataError`."""
    present = np.unique(labels)
    if present[0] < 0:
        row = int(np.flatnonzero(labels < 0)[0])
        raise DataError(f"{where}: row {row} (from 0): the label is {labels[row]}; labels are 0..K-1")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{where}: the training labels are {present[0]}..{present[-1]} without {gaps[0]}; "
            "they must be 0..K-1 with at least one image of each class"
        )
    return len(present)


def _check_test_labels(labels: Labels, classes: int, where: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{where}: row {wrong[0]} (from 0): the label is {labels[wrong[0]]}, "
            f"but the training labels are 0..{classes - 1}"
        )
