"""Segments: records folded into columns, so that many are read at once. The records themselves stay.

A segment is never the truth: one that is damaged, or made by another mica, is left out, and the records that
it held are read one by one.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import chain, pairwise
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mica.sweep.store.columns import SEGMENT, table_of
from mica.sweep.store.layout import SEGMENTS
from mica.sweep.store.place import Obstacle, Place, Unreachable
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Newer, Stored

log = logging.getLogger(__name__)

FOLD_FROM = 1000
"""Records outside of segments before they are folded."""
_AT_ONCE = 100
"""Records that are objects at one time: one has hundreds of parts, and a thousand of them take 200 MB."""
_KIND = hashlib.sha256(repr([(field.name, str(field.type)) for field in SEGMENT]).encode()).hexdigest()[:8]
"""Of the columns; begins a segment's file name."""
PREFIXES = "0123456789abcdef"
"""A segment has a row group for each first digit of its records' names, where there are any."""


class Lost(Exception):
    """A segment cannot be read, or not any more; its records can."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Segment:
    """One that could be read a moment ago. Reading raises `Lost`."""

    path: str
    names: pa.ChunkedArray
    """Of its records, sorted."""
    _place: Place
    _file: pq.ParquetFile

    def read(self, columns: list[str]) -> pa.Table:
        """Some columns of all its rows."""
        with _reading(self._place, self.path):
            return self._file.read(columns=columns)

    def read_prefix(self, prefix: str, columns: list[str]) -> pa.Table:
        """Some columns of the rows whose names begin with this digit."""
        with _reading(self._place, self.path):
            groups = [number for number, first in enumerate(self._firsts) if first == prefix]
            return self._file.read_row_groups(groups, columns=columns)

    @cached_property
    def _firsts(self) -> list[str]:
        """The first digit of each row group's names."""
        found, ends = [], 0
        for group in range(self._file.num_row_groups):
            found.append(self.names[ends].as_py()[0])
            ends += self._file.metadata.row_group(group).num_rows
        return found


def segments(place: Place) -> Iterator[Segment]:
    """All that can be read; one that is damaged is set aside."""
    for path in place.list(SEGMENTS):
        if not path.startswith(f"{SEGMENTS}/{_KIND}-"):
            continue
        try:
            with _reading(place, path):
                segment = _open(place, path)
        except Lost:
            continue
        yield segment


def fold(store: Store, at_least: int = FOLD_FROM) -> int:
    """Fold the records that are in no segment, if there are enough; returns how many.

    Segments that hold less than `FOLD_FROM` records are merged into the new ones. Nobody sees fewer records
    meanwhile: no record is moved, and a segment goes only once another holds its rows.
    """
    place = store.place
    found = list(segments(place))
    names = store.names()  # after the segments: what those hold is among them, or somebody has removed it
    small: list[tuple[Segment, pa.Array]] = []
    folded: set[str] = set()
    for segment in found:
        held = segment.names.to_pylist()
        if len(held) < FOLD_FROM or folded.intersection(held):
            kept = [name in names and name not in folded for name in held]
            small.append((segment, pa.array(kept, pa.bool_())))
        folded.update(held)
    loose = sorted(names.keys() - folded)
    if len(loose) < at_least:
        return 0
    merged: list[str] = []
    written = set(_write_all(place, chain(_rows_of(small, merged), _tables_of(store, loose))))
    for path in merged:
        if path not in written:
            place.delete(path)
    return len(loose)


def _rows_of(small: list[tuple[Segment, pa.Array]], merged: list[str]) -> Iterator[pa.Table]:
    """These rows of these segments, whose paths are noted; one that is lost is left to the next fold."""
    for segment, kept in small:
        with suppress(Lost):
            yield segment.read(SEGMENT.names).filter(kept)
            merged.append(segment.path)


def _tables_of(store: Store, names: list[str]) -> Iterator[pa.Table]:
    for start in range(0, len(names), _AT_ONCE):
        yield table_of(_readable(store, names[start : start + _AT_ONCE]))


def _write_all(place: Place, tables: Iterator[pa.Table]) -> Iterator[str]:
    """Create segments of these rows, few of them in memory at once; returns their paths."""
    parts: list[pa.Table] = []
    for table in tables:
        parts.append(table)
        if sum(part.num_rows for part in parts) >= FOLD_FROM:
            yield _write(place, parts)
            parts = []
    if any(part.num_rows for part in parts):
        yield _write(place, parts)


def drop_stale(store: Store) -> None:
    """Delete the segments that hold rows of records that somebody has removed by hand.

    Such a trial runs again, and its new record must not be taken for the old one.
    """
    found = list(segments(store.place))
    names = store.names()
    for segment in found:
        if not all(name in names for name in segment.names.to_pylist()):
            store.place.delete(segment.path)


def _readable(store: Store, names: list[str]) -> Iterator[Stored]:
    for name in names:
        try:
            stored = store.read(name)
        except Newer:
            continue
        if stored is not None:
            yield stored


def _write(place: Place, parts: list[pa.Table]) -> str:
    """Create a segment of these rows; returns its path."""
    table = pa.concat_tables(parts).sort_by("name")
    firsts = pc.utf8_slice_codeunits(table["name"], 0, 1).to_numpy()
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, SEGMENT, compression="zstd", write_page_checksum=True) as writer:
        bounds = [0, *(np.flatnonzero(firsts[1:] != firsts[:-1]) + 1), table.num_rows]
        for start, stop in pairwise(bounds):
            writer.write_table(table.slice(start, stop - start))
    # By its content: two drivers that fold the same records make one segment.
    digest = hashlib.sha256("\n".join(table["name"].to_pylist()).encode()).hexdigest()[:16]
    path = f"{SEGMENTS}/{_KIND}-{digest}-{_footer_digest(buffer)}.parquet"
    place.create(path, buffer.getvalue())
    return path


def _open(place: Place, path: str) -> Segment:
    content = place.open(path)
    if content is None:
        raise FileNotFoundError(path)
    if not path.endswith(f"-{_footer_digest(content)}.parquet"):
        raise ValueError("its end is not as it was written")
    content.seek(0)
    file = pq.ParquetFile(content, page_checksum_verification=True)
    return Segment(path, file.read(columns=["name"])["name"], place, file)


def _footer_digest(file: BinaryIO) -> str:
    """Of what says where and of what kind everything in a Parquet file is; the pages have their own."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little") + 8
    file.seek(max(0, size - length))
    return hashlib.sha256(file.read()).hexdigest()[:8]


@contextmanager
def _reading(place: Place, path: str) -> Iterator[None]:
    """What goes wrong while a segment is read, as `Lost`; one that is damaged is set aside."""
    try:
        yield
    except FileNotFoundError as error:  # merged into a larger one
        raise Lost(path) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        damaged = isinstance(error, Obstacle) or not isinstance(error, OSError) or error.errno is None
        if damaged and not isinstance(error, Unreachable):
            try:
                target = place.set_aside(path)
                log.warning("%s is damaged (%s); moved to %s; its records are whole", path, error, target)
            except OSError as failure:  # a reader may have no right to move anything
                log.warning("%s is damaged (%s) and cannot be moved: %s", path, error, failure)
        else:
            log.warning("%s cannot be read now (%s); its records are read one by one", path, error)
        raise Lost(path) from error
