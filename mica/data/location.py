"""Where a file of data is: a local path or a URI, and its bytes."""

import hashlib
import os
import re

import pyarrow as pa
from pyarrow import fs

from mica.errors import DataError
from mica.wording import shown

__all__ = ["expand", "file_digest", "filled_in", "is_uri", "open_file", "read_file", "shown"]

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_CHUNK_BYTES = 1 << 20
_GOOGLE_SECONDS = 30


def expand(place: str) -> str:
    """The place with `$VARS` and `~` filled in; a local path becomes absolute, a URI stays one.

    Raises `DataError` when a variable is not set.
    """
    filled = filled_in(place)
    return filled if is_uri(filled) else os.path.abspath(os.path.expanduser(filled))


def filled_in(place: str) -> str:
    """The place with `$VARS` filled in.

    Raises `DataError` when a variable is not set: left in, it would be sought as a file name.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise DataError(f"{shown(place)}: the environment variable {name} is not set")
        return os.environ[name]

    return _VARIABLE.sub(value, place)


def is_uri(place: str) -> bool:
    """Whether this names an object store or another file system, not a local path."""
    return "://" in place


def open_file(place: str) -> pa.NativeFile:
    """The file there, open for reading. Raises `DataError` when it is missing, no file, or empty."""
    try:
        system, path = (
            fs.FileSystem.from_uri(_patient(place)) if is_uri(place) else (fs.LocalFileSystem(), place)
        )
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{shown(place)}: there is no such file")
        if info.type == fs.FileType.Directory:
            raise DataError(f"{shown(place)}: this is a folder, not a file")
        if info.type != fs.FileType.File:  # a pipe would be waited for, a device has no end
            raise DataError(f"{shown(place)}: this is no regular file")
        if info.size == 0:
            raise DataError(f"{shown(place)}: the file is empty (0 bytes)")
        return system.open_input_file(path)
    except (pa.ArrowException, OSError, ImportError) as error:
        raise _failed(place, "opened", error) from None


def _patient(uri: str) -> str:
    """Google's client tries for a quarter of an hour to reach a place that is not there."""
    if not uri.startswith(("gs://", "gcs://")) or "retry_limit_seconds" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={_GOOGLE_SECONDS}"


def read_file(place: str) -> pa.Buffer:
    """All bytes of the file. Raises `DataError`."""
    with open_file(place) as file:
        try:
            return file.read_buffer()
        except (pa.ArrowException, OSError) as error:
            raise _failed(place, "read", error) from None


def file_digest(place: str) -> str:
    """Hex SHA-256 of the file's bytes, read piece by piece. Raises `DataError`."""
    sha = hashlib.sha256()
    with open_file(place) as file:
        try:
            while chunk := file.read(_CHUNK_BYTES):
                sha.update(chunk)
        except (pa.ArrowException, OSError) as error:
            raise _failed(place, "read", error) from None
    return sha.hexdigest()


def _failed(place: str, what: str, error: Exception) -> DataError:
    """The complaint; a library's own words may hold the place with its password."""
    reason = shown(str(error).partition("\n")[0].replace(place, shown(place)))
    return DataError(f"{shown(place)}: cannot be {what}: {reason}")
