"""Seven faults that the suite must notice when one is planted into its drivers."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mica.sweep.store import segments
from mica.sweep.store.driver import Watch, read_beat
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import record_path
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored, encode


def put_overwrites() -> None:
    """A record is written over one that is there."""

    def put(self: Store, stored: Stored) -> Stored:
        self.place.write(record_path(stored.name), encode(stored))
        return stored

    Store.put = put  # type: ignore[method-assign]
    Store.find = lambda self, key, code: None  # type: ignore[method-assign]


def create_ignores_the_condition() -> None:
    """Every writer of a name wins, and the place's own check is not made."""

    def create(self: Folder, name: str, content: bytes, *, durable: bool = True) -> bool:
        self.write(name, content, durable=durable)
        return True

    Folder.create = create  # type: ignore[method-assign]
    Folder.check = lambda self: None  # type: ignore[method-assign]
    Store.find = lambda self, key, code: None  # type: ignore[method-assign]


def momentum_is_dropped() -> None:
    """A training goes on from its weights, without its momentum."""
    from dataclasses import replace

    from mica.trial import attempt

    original = attempt.unpack

    def unpack(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        return replace(found, state=replace(found.state, momentum={}))

    attempt.unpack = unpack


def claims_end_by_the_wall_clock() -> None:
    """A claim ends when its driver's file is older than the claim's time, by the clocks of two machines."""

    def lives(self: Watch, driver: str) -> bool:
        said = read_beat(self._place, driver)
        file = Path(str(self._place.local), "drivers", f"{driver}.wall")
        stamp = float(file.read_text()) if file.exists() else 0.0
        return said is not None and abs(time.time() - stamp) < self._seconds

    from mica.sweep.store.driver import Driver

    original = Driver._beat

    def beat(self: Driver) -> None:
        Path(str(self._place.local), "drivers").mkdir(parents=True, exist_ok=True)
        Path(str(self._place.local), "drivers", f"{self.id}.wall").write_text(str(time.time()))
        original(self)

    Watch.lives, Driver._beat = lives, beat  # type: ignore[method-assign]


def fold_deletes_first() -> None:
    """The records that are folded go before the segment is there."""
    original = segments._write

    def write(place: Any, parts: list[Any]) -> None:
        for part in parts:
            for name in part["name"].to_pylist():
                place.delete(record_path(name))
        time.sleep(0.5)
        original(place, parts)

    segments._write = write
    _fold_early()


def fold_frees_names() -> None:
    """Records that are folded go once the segment is there."""
    original = segments._write

    def write(place: Any, parts: list[Any]) -> None:
        original(place, parts)
        for part in parts:
            for name in part["name"].to_pylist():
                place.delete(record_path(name))

    segments._write = write
    _fold_early()


def _fold_early() -> None:
    """A handful of records is folded already, whenever a driver begins or ends."""
    from mica.sweep import sweep

    sweep.fold = lambda store: segments.fold(store, 1)
    sweep.FOLD_FROM = 1  # type: ignore[misc]


def record_before_kept_files() -> None:
    """A record is there before the files that it names."""
    waiting: list[tuple[str, Path]] = []

    def keep(self: Store, key: str, folder: Path) -> str | None:
        name = f"kept/{key}/early{os.getpid()}"
        waiting.append((name, folder))
        return name

    original_put = Store.put

    def put(self: Store, stored: Stored) -> Stored:
        standing = original_put(self, stored)
        time.sleep(0.3)
        for name, folder in waiting:
            self.place.upload(folder, name)
        waiting.clear()
        return standing

    Store.keep, Store.put = keep, put  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        put_overwrites,
        create_ignores_the_condition,
        momentum_is_dropped,
        claims_end_by_the_wall_clock,
        fold_deletes_first,
        fold_frees_names,
        record_before_kept_files,
    )
}
"""By name; each patches mica in the driver's process alone."""
