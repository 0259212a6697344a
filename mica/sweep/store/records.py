"""The store: one durable record for every finished trial. It is the only truth about what is done."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mica.errors import UserError
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import RECORDS, SEGMENTS, SET_ASIDE, kept_path, record_path
from mica.trial.record import RECORD_VERSION, Record

log = logging.getLogger(__name__)

FOLD_FROM = 1000
"""Loose records before they are folded into a segment."""


@dataclass(frozen=True)
class Stored:
    """A record, and the sweep that it was first run for."""

    key: str
    sweep: str
    record: Record


class Store:
    """Records in a folder or an object store. Writing one is atomic; a torn one is never half-read."""

    def __init__(self, place: str) -> None:
        self.folder = Folder(place)

    def put(self, stored: Stored) -> None:
        """Write a record, over one of the same key."""
        self.folder.write(record_path(stored.key), _encode(stored))

    def loose(self, key: str) -> Stored | None:
        """The record of a key as long as it is not folded: reads one file, however large the store."""
        path = record_path(key)
        content = self.folder.read(path)
        return None if content is None else self._decode(path, content)

    def load(self) -> dict[str, Stored]:
        """All records by key. Files that are no records are set aside and reported."""
        return {stored.key: stored for path in self.paths() for stored in self.read(path)}

    def paths(self) -> list[str]:
        """The files with records; of a key the newest comes last: a loose one is newer than a folded one."""
        return [*self.folder.list(SEGMENTS), *self.folder.list(RECORDS)]

    def read(self, path: str) -> Iterator[Stored]:
        """The records in one of these files."""
        if path.startswith(SEGMENTS):
            yield from self._segment(path)
        elif stored := self._decode(path, self.folder.read(path) or b""):
            yield stored

    def fold(self, at_least: int = FOLD_FROM) -> int:
        """Fold the loose records into one segment if there are enough; returns how many.

        The segment is complete before the first loose file goes, so a stop in between leaves a record
        twice, never none.
        """
        paths = self.folder.list(RECORDS)
        if len(paths) < at_least:
            return 0
        contents = [(path, self.folder.read(path) or b"") for path in paths]
        sound = [(path, content) for path, content in contents if self._decode(path, content)]
        if not sound:
            return 0
        column = pa.array([content for _, content in sound], pa.binary())
        buffer = BytesIO()
        pq.write_table(pa.table({"record": column}), buffer, compression="zstd")
        # Segments are read in the order of their names, the newest last.
        number = max((_number(path) for path in self.folder.list(SEGMENTS)), default=-1) + 1
        name = hashlib.sha256(buffer.getvalue()).hexdigest()[:12]
        self.folder.write(f"{SEGMENTS}/{number:06d}-{name}.parquet", buffer.getvalue())
        for path, _ in sound:
            self.folder.delete(path)
        return len(sound)

    def keep(self, key: str, folder: Path) -> None:
        """Take over the files that a trial keeps."""
        self.folder.upload(folder, kept_path(key))

    def _segment(self, path: str) -> Iterator[Stored]:
        content = self.folder.read(path)  # a failing network must not count as a torn file
        try:
            contents = pq.read_table(BytesIO(content or b""))["record"].to_pylist()
        except (pa.ArrowException, OSError, KeyError) as error:  # a flipped byte is an OSError
            self._set_aside(path, error)
            return
        for content in contents:
            try:
                yield _decode(content)
            except _Unsound as error:  # its neighbours are sound: they stay where they are
                log.warning("%s: one of its records is not sound (%s) and is left out", path, error)

    def _decode(self, path: str, content: bytes) -> Stored | None:
        """The record in a loose file; None, and the file set aside, when there is none in it."""
        try:
            stored = _decode(content)
            if path != record_path(stored.key):
                raise _Unsound(f"holds the record of another key, {stored.key}")
        except _Unsound as error:
            self._set_aside(path, error)
            return None
        return stored

    def _set_aside(self, path: str, error: Exception) -> None:
        target = f"{SET_ASIDE}/{path.replace('/', '_')}"
        log.warning("%s is no sound record (%s); moved to %s", path, _first_line(error), target)
        self.folder.move(path, target)


class _Unsound(Exception):
    """What stands in the place of a record is none."""


def _encode(stored: Stored) -> bytes:
    body = {"key": stored.key, "sweep": stored.sweep, "record": stored.record.model_dump(mode="json")}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return json.dumps({"checksum": _checksum(text), "body": text}).encode()


def _decode(content: bytes) -> Stored:
    """Raises `_Unsound` for what is no record, and `UserError` for a record of a newer mica."""
    try:
        envelope = json.loads(content)
        if envelope["checksum"] != _checksum(envelope["body"]):
            raise _Unsound("its checksum is wrong")
        body = json.loads(envelope["body"])
        version = body["record"]["version"]
        if version > RECORD_VERSION:  # sound, and not ours to set aside
            raise UserError(
                f"the record {body['key']} was written by a newer mica (version {version}, this one reads "
                f"{RECORD_VERSION}): update mica"
            )
        return Stored(body["key"], body["sweep"], Record.model_validate(body["record"]))
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Unsound(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _number(segment: str) -> int:
    """Of a segment's file name; 0 for a file that is none of ours."""
    number = segment.removeprefix(f"{SEGMENTS}/").partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
