"""Files and folders that are there whole or not at all, and where this user's caches lie."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

from platformdirs import user_cache_path

TEMPORARY = ".tmp"
"""The end of an unfinished file's name."""
_COPY_BYTES = 1 << 20


def write_file(path: str | Path, *parts: bytes, durable: bool = False, parents: bool = True) -> None:
    """Write a file under a temporary name beside it, then rename: readers see the whole file or none.

    The temporary name starts with a dot and ends with `TEMPORARY`; only a process that is killed leaves it
    behind.

    Args:
        parts: the content, one after the other.
        durable: whether the file must survive a power cut once this has returned.
        parents: whether to make folders that are missing.

    Raises:
        OSError: a step failed, and the error names `path`; what stood there is as it was.
    """
    path = Path(path)
    with _finished(path, parts, durable=durable, parents=parents) as temporary:
        os.replace(temporary, path)


def create_file(path: str | Path, content: bytes, *, durable: bool = False) -> bool:
    """Create a file, whole, unless something stands there; returns whether this call did.

    A hard link from a finished temporary file: of any number of writers one wins, on NFS too.

    Raises:
        OSError: a step failed, and the error names `path`.
    """
    path = Path(path)
    with _finished(path, (content,), durable=durable, parents=True) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False  # and only here: where a file stands in a folder's place nobody has won
    return True


def copy_file(source: str | Path, path: str | Path, *, durable: bool = False) -> None:
    """Copy a file of any size as `write_file` writes one. Raises `OSError`."""
    path = Path(path)
    with open(source, "rb") as file:
        parts = iter(partial(file.read, _COPY_BYTES), b"")
        with _finished(path, parts, durable=durable, parents=True) as temporary:
            os.replace(temporary, path)


@contextmanager
def _finished(path: Path, parts: Iterable[bytes], *, durable: bool, parents: bool) -> Iterator[Path]:
    """A complete file under a temporary name beside `path`, to give its name; gone when the block ends."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{TEMPORARY}")
    with _naming(path):
        if parents:
            _make_folder(path.parent, durable)
        try:
            with open(temporary, "xb") as file:
                file.writelines(parts)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())  # else a power cut may leave the new name with no content
            yield temporary
        finally:
            with suppress(OSError):
                temporary.unlink()
        if durable:
            _sync_folder(path.parent)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill; when the block ends it becomes `path`, when the block raises nothing is left.

    Its parent is the block's own, for what is needed only meanwhile.

    Raises:
        OSError: it cannot be made, or `path` holds something already; the error names `path`.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-")
    with unfinished as own:
        folder = Path(own, path.name)
        folder.mkdir()
        yield folder
        with _naming(path):
            os.replace(folder, path)


def cache_folder() -> Path:
    """Where what costs time to lose, and nothing else, is kept.

    The folder $MICA_CACHE; else `mica` in the user's cache folder; else, for a container's user who has no
    home or may not write there, one among the temporary files.
    """
    place = os.environ.get("MICA_CACHE")
    if place:
        return Path(os.path.abspath(os.path.expanduser(place)))
    with suppress(RuntimeError):  # no home
        folder = user_cache_path("mica", appauthor=False)
        if folder.is_absolute() and _can_be_there(folder):
            return folder
    return Path(tempfile.gettempdir(), f"mica-cache-{os.getuid()}")


def _can_be_there(folder: Path) -> bool:
    """Whether a folder exists, or its nearest parent that does may be written to."""
    if os.path.isdir(folder):
        return True
    nearest = next(parent for parent in folder.parents if os.path.exists(parent))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the system name the file that is meant: a full disk's names none, a rename's a temporary."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _make_folder(folder: Path, durable: bool) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, durable)
    folder.mkdir(exist_ok=True)
    if durable:
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
