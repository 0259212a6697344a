"""The SQLite file beside the records: ours, and their mirror only, so a spoilt one is made anew.

A disk that was full while MLflow made its tables leaves a file that MLflow never gets past again; so does a
byte that was flipped. Another file that a sweep's author names is not ours to move.
"""

import hashlib
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from mica.sweep.store.layout import MLFLOW, RECORDS, SEGMENTS

_SQLITE = "sqlite:///"
_HEADER = b"SQLite format 3\0"
_DAMAGED = ("file is not a database", "disk image is malformed")
_HALF_MADE = ("already exists", "no such table", "no such column", "duplicate column", "locate revision")
_QUIET, _LOCK_SECONDS = 3.0, 60.0
"""Seconds that nobody may have written for: else somebody is making it now; how long one of us takes."""


def file_of(uri: str) -> Path | None:
    """The file of a SQLite URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def own_file(uri: str) -> Path | None:
    """That file, if it is the one beside a store's records."""
    path = file_of(uri)
    if path is None or path.name != MLFLOW:
        return None
    return path if any((path.parent / name).is_dir() for name in (RECORDS, SEGMENTS)) else None


def respelled(uri: str, number: int) -> str:
    """The same file under another name: MLflow keeps what it has opened, by URI, for as long as it runs."""
    path = file_of(uri)
    assert path is not None
    return f"{_SQLITE}{path.parent}/{'./' * number}{path.name}"


def identity(path: Path) -> int | None:
    """Of the file that has this name now; None where there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def lock(path: Path) -> FileLock:
    """Held by the one process that looks after the file."""
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir(), f"mica-mlflow-{os.getuid()}-{name}.lock"), _LOCK_SECONDS)


def why_spoilt(path: Path, error: str) -> str | None:
    """What is wrong with the file that MLflow cannot use, for this reason; None: nothing that we see."""
    if not path.is_file():
        return None
    if not has_header(path):
        return "no database"
    if any(words in error for words in _DAMAGED) and not _sound(path):
        return "damaged"
    if any(words in error for words in _HALF_MADE) and _half_made(path) and _quiet(path):
        return "half made"
    return None


def has_header(path: Path) -> bool:
    """Whether it begins as a database does; an empty or a missing one becomes one."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_HEADER)) in (b"", _HEADER)
    except OSError:
        return True


def set_aside(path: Path) -> Path:
    """Rename it, over what was set aside before; its journals too, which belong to no new file."""
    for tail in ("-journal", "-wal", "-shm"):
        Path(f"{path}{tail}").unlink(missing_ok=True)
    target = path.with_name(f"{path.name}.set-aside")
    os.replace(path, target)
    return target


def _sound(path: Path) -> bool:
    try:
        with closing(_opened(path)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError:  # locked, say
        return True
    except sqlite3.DatabaseError:
        return False


def _half_made(path: Path) -> bool:
    """Whether its tables are not finished; one without a run has nothing to lose."""
    try:
        with closing(_opened(path)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if any(name.startswith("_alembic_tmp_") for name in names) or "runs" not in names:
                return True
            return database.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None
    except sqlite3.Error:
        return False


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)


def _quiet(path: Path) -> bool:
    """Whether nobody writes to it, waiting a moment where somebody did just now."""
    until = time.monotonic() + 2 * _QUIET
    while time.monotonic() < until:
        if time.time() - path.stat().st_mtime > _QUIET:
            return True
        time.sleep(0.2)
    return False
