"""The store: one durable record for every finished trial. It is the only truth about what is done."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from mica.sweep.store.layout import (
    DIFFERENCES,
    FAILURES,
    KEPT,
    RECORDS,
    failure_numbers,
    failure_path,
    name_of,
    record_names,
    record_path,
)
from mica.sweep.store.place import Obstacle
from mica.sweep.store.places import open_place
from mica.sweep.store.stored import Newer, Stored, Unsound, decode, differences, encode

log = logging.getLogger(__name__)

_TRIES = 5
"""How often what stands in a record's place and is none is moved away before the place is given up."""


class Store:
    """Records in one place. A record is created once under its name, and neither changed nor deleted."""

    def __init__(self, storage: str) -> None:
        """`storage`: a path or a URI; raises `UserError` when it cannot be understood."""
        self.place = open_place(storage)

    def put(self, stored: Stored) -> Stored:
        """Store a record; returns the one that stands, which is another's if that was first.

        A failed trial's goes beside the others, as its next attempt.
        """
        if stored.record.outcome == "failed":
            self._put_failure(stored)
            return stored
        path, content = record_path(stored.name), encode(stored)
        for _ in range(_TRIES):
            if self.place.create(path, content):
                return stored
            try:
                first = self._read(path, stored.key)  # what is no record is set aside by this
            except Newer as error:
                log.warning("%s %s; it stands", path, error)
                return stored
            if first is not None:
                self._compare(first, stored)
                return first
        raise OSError(f"{self.place.shown}/{path}: something stands there that is no record and does not go")

    def find(self, key: str, code: dict[str, str]) -> Stored | None:
        """The record of a trial, made with this code of the user's own; reads one file."""
        return self.read(name_of(key, code))

    def read(self, name: str) -> Stored | None:
        """The record of this name; None when there is none. Raises `Newer`."""
        path = record_path(name)
        return self._read(path, name.partition("-")[0])

    def names(self) -> dict[str, str]:
        """Name of every record → its trial's key; reads no record."""
        return dict(record_names(self.place.list(RECORDS)))

    def failures(self) -> dict[str, int]:
        """Key → how many attempts at the trial have failed; of trials with a record too."""
        return failure_numbers(self.place.list(FAILURES))

    def failure(self, key: str, number: int) -> Stored | None:
        """An attempt that failed, from 1; None too where a newer mica wrote it."""
        with suppress(Newer):
            return self._read(failure_path(key, number), key)
        return None

    def latest(self, key: str) -> Stored | None:
        """The newest record of a trial; where it has none, its last attempt, which failed.

        None where a newer mica wrote what there is.
        """
        folder = f"{RECORDS}/{key[:2]}"
        names = [name for name, of in record_names(self.place.list(folder)) if of == key]
        found = []
        for name in names:
            with suppress(Newer):
                if (stored := self.read(name)) is not None:
                    found.append(stored)
        if found:
            return max(found, key=lambda stored: stored.record.provenance.started)
        return None if names else self.last_failure(key)

    def last_failure(self, key: str) -> Stored | None:
        """A trial's last attempt that failed."""
        number = self.failed(key)
        return self.failure(key, number) if number else None

    def failed(self, key: str) -> int:
        """How many attempts at a trial have failed."""
        return failure_numbers(self.place.list(f"{FAILURES}/{key}")).get(key, 0)

    def load(self) -> Iterator[Stored]:
        """All records, one after the other; of failed trials without one the last attempt."""
        names = self.names()
        for name in names:
            with suppress(Newer):
                if (stored := self.read(name)) is not None:
                    yield stored
        done = set(names.values())
        for key, number in self.failures().items():
            if key not in done and (failed := self.failure(key, number)) is not None:
                yield failed

    def keep(self, key: str, folder: Path) -> str | None:
        """Take over the files that an attempt keeps; returns the folder below the place, None: no files."""
        if not any(path.is_file() for path in folder.rglob("*")):
            return None
        name = f"{KEPT}/{key}/{uuid4().hex[:8]}"
        self.place.upload(folder, name)
        return name

    def _put_failure(self, stored: Stored) -> None:
        content = encode(stored)
        number = self.failed(stored.key) + 1
        while not self.place.create(failure_path(stored.key, number), content):
            number += 1

    def _compare(self, first: Stored, second: Stored) -> None:
        """Two have run one trial: nothing is lost, and if the numbers differ somebody must know."""
        fields = differences(first.record, second.record)
        if not fields:
            return
        path = f"{DIFFERENCES}/{second.name}-{uuid4().hex[:8]}.json"
        self.place.create(path, encode(second))
        where = first.record.provenance, second.record.provenance
        hosts = " and then on ".join(f"{one.host} ({one.device}, {one.threads} threads)" for one in where)
        log.warning(
            "trial %s ran on %s, and the second result differs in %s%s; the first stands, the second is %s",
            second.key[:12],
            hosts,
            ", ".join(fields[:3]),
            f" and {len(fields) - 3} more" if len(fields) > 3 else "",
            path,
        )

    def _read(self, path: str, key: str) -> Stored | None:
        """The record in a file; None, and what stands there set aside, when there is none in it."""
        try:
            content = self.place.read(path)
            if content is None:
                return None
            stored = decode(content)
            if stored.key != key:
                raise Unsound(f"holds the record of another key, {stored.key[:12]}")
        except (Unsound, Obstacle) as error:
            self._clear(path, key, error)
            return None
        return stored

    def _clear(self, path: str, key: str, error: Exception) -> None:
        """Move away what is no record; what somebody has made of it meanwhile goes back."""
        try:
            target = self.place.set_aside(path)
            if target is None:
                return
            with suppress(Unsound, Obstacle):
                content = self.place.read(target) or b""
                if _may_be(content, key) and self.place.create(path, content):
                    self.place.delete(target)
                    return
            log.warning("%s is no sound record (%s); moved to %s", path, error, target)
        except OSError as failure:  # a reader may have no right to move anything
            log.warning("%s is no sound record (%s) and cannot be moved: %s", path, error, failure)


def _may_be(content: bytes, key: str) -> bool:
    """Whether this is a sound record of a trial, or one that only a newer mica can read. Raises `Unsound`."""
    try:
        return decode(content).key == key
    except Newer:
        return True
