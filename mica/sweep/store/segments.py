"""Segments: records folded into columns, so that many are read at once. The records themselves stay.

A segment is never the truth: one that is damaged, or made by another mica, is left out, and the records that
it held are read one by one.
"""

import hashlib
import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mica.sweep.store.columns import SEGMENT, table_of
from mica.sweep.store.layout import SEGMENTS
from mica.sweep.store.place import Place
from mica.sweep.store.records import Store

log = logging.getLogger(__name__)

FOLD_FROM = 1000
"""Records outside of segments before they are folded."""
_AT_ONCE = 100
"""Records that are objects at one time: one has hundreds of parts, and a thousand of them take 200 MB."""
_KIND = hashlib.sha256(repr([(field.name, str(field.type)) for field in SEGMENT]).encode()).hexdigest()[:8]
"""Of the columns; begins a segment's file name."""
PREFIXES = "0123456789abcdef"
"""A segment has a row group for each first digit of its records' names, where there are any."""


@dataclass(frozen=True)
class Segment:
    """One that can be read."""

    path: str
    names: pa.ChunkedArray
    """Of its records, sorted."""
    _file: pq.ParquetFile

    def read(self, columns: list[str]) -> pa.Table:
        """Some columns of all its rows."""
        return self._file.read(columns=columns)

    def read_prefix(self, prefix: str, columns: list[str]) -> pa.Table:
        """Some columns of the rows whose names begin with this digit."""
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
        content = place.open(path)
        if content is None:  # folded into a larger one
            continue
        try:
            file = pq.ParquetFile(content)
            names = file.read(columns=["name"])["name"]
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            target = place.set_aside(path)
            log.warning("%s is damaged (%s); moved to %s; its records are whole", path, error, target)
            continue
        yield Segment(path, names, file)


def fold(store: Store, at_least: int = FOLD_FROM) -> int:
    """Fold the records that are in no segment, if there are enough; returns how many.

    Segments that hold less than `FOLD_FROM` records are merged into the new ones. Nobody sees fewer records
    meanwhile: no record is moved, and a segment goes only once another holds its rows.
    """
    place, names = store.place, store.names()
    parts: list[pa.Table] = []
    small: list[str] = []
    folded: set[str] = set()
    for segment in segments(place):
        held = segment.names.to_pylist()
        if len(held) >= FOLD_FROM and not folded.intersection(held):
            folded.update(held)
            continue
        table = segment.read(SEGMENT.names)
        parts.append(
            table.filter(pa.array([name in names and name not in folded for name in held], pa.bool_()))
        )
        small.append(segment.path)
        folded.update(held)
    loose = sorted(names.keys() - folded)
    if len(loose) < at_least:
        return 0
    for start in range(0, len(loose), _AT_ONCE):
        parts.append(
            table_of(stored for name in loose[start : start + _AT_ONCE] if (stored := store.read(name)))
        )
        if sum(part.num_rows for part in parts) >= FOLD_FROM:
            _write(place, parts)
            parts = []
    if parts:
        _write(place, parts)
    for path in small:
        place.delete(path)
    return len(loose)


def drop_stale(place: Place, names: Container[str]) -> None:
    """Delete the segments that hold rows of records that somebody has removed by hand.

    Such a trial runs again, and its new record must not be taken for the old one.
    """
    for segment in segments(place):
        if not all(name in names for name in segment.names.to_pylist()):
            place.delete(segment.path)


def _write(place: Place, parts: list[pa.Table]) -> None:
    table = pa.concat_tables(parts).sort_by("name")
    if not table.num_rows:
        return
    firsts = pc.utf8_slice_codeunits(table["name"], 0, 1).to_numpy()
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, SEGMENT, compression="zstd") as writer:
        bounds = [0, *(np.flatnonzero(firsts[1:] != firsts[:-1]) + 1), table.num_rows]
        for start, stop in pairwise(bounds):
            writer.write_table(table.slice(start, stop - start))
    # By its content: two drivers that fold the same records make one segment.
    digest = hashlib.sha256("\n".join(table["name"].to_pylist()).encode()).hexdigest()[:16]
    place.create(f"{SEGMENTS}/{_KIND}-{digest}.parquet", buffer.getvalue())
