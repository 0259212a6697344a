"""A folder for what is written on the way; that of a killed process is removed by whoever makes the next."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "mica-scratch-"
_LOCK = "in-use"
_NEW = 60.0
"""Seconds in which a folder without a lock may be one that is just being made."""


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Raises nothing of its own at the end: what cannot be removed then is another's to remove."""
    _remove_orphans(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder, _LOCK)),  # it ends with its process, however that ends
    ):
        yield folder


def _remove_orphans(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        # Another user's, or one that another driver removes as well.
        with contextlib.suppress(OSError):
            lock = Path(folder, _LOCK)
            if not lock.exists() and time.time() - folder.stat().st_mtime < _NEW:
                continue
            with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
                shutil.rmtree(folder)
