"""Where a file of data is: a local path or a URI, and its bytes."""

import hashlib
import os
import re

import pyarrow as pa
from pyarrow import fs

from mica.errors import DataError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_USER = re.compile(r"://(?:[^/@\s]*:\S*|[^/\s]*)@")
"""A URI's user and password; a password that is not quoted may hold `/` and `@`."""
_SECRET_FIELD = re.compile(r"([?&][^=&\s]*(?:passw|pwd|token|secret|key)[^=&\s]*=)[^&#\s]*", re.IGNORECASE)
"""A field of a URI's query that holds a password, and its value."""
_CHUNK_BYTES = 1 << 20


def expand(place: str) -> str:
    """The place with `$VARS` and `~` filled in; a local path becomes absolute, a URI stays one.

    Raises `DataError` when a variable is not set: left in, it would be sought as a file name.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise DataError(f"{place}: the environment variable {name} is not set")
        return os.environ[name]

    filled = _VARIABLE.sub(value, place)
    return filled if is_uri(filled) else os.path.abspath(os.path.expanduser(filled))


def is_uri(place: str) -> bool:
    """Whether this names an object store or another file system, not a local path."""
    return "://" in place


def shown(place: str) -> str:
    """The place as messages and records may show it: without a URI's user, password and token."""
    return _SECRET_FIELD.sub(r"\1***", _USER.sub("://***@", place))


def open_file(place: str) -> pa.NativeFile:
    """The file there, open for reading. Raises `DataError` when it is missing, no file, or empty."""
    try:
        system, path = fs.FileSystem.from_uri(place) if is_uri(place) else (fs.LocalFileSystem(), place)
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{shown(place)}: there is no such file")
        if info.type == fs.FileType.Directory:
            raise DataError(f"{shown(place)}: this is a folder, not a file")
        if info.size == 0:
            raise DataError(f"{shown(place)}: the file is empty (0 bytes)")
        return system.open_input_file(path)
    except (pa.ArrowException, OSError, ImportError) as error:
        raise DataError(f"{shown(place)}: cannot be opened: {error}") from error


def read_file(place: str) -> pa.Buffer:
    """All bytes of the file. Raises `DataError`."""
    with open_file(place) as file:
        try:
            return file.read_buffer()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{shown(place)}: cannot be read: {error}") from error


def file_digest(place: str) -> str:
    """Hex SHA-256 of the file's bytes, read piece by piece. Raises `DataError`."""
    sha = hashlib.sha256()
    with open_file(place) as file:
        try:
            while chunk := file.read(_CHUNK_BYTES):
                sha.update(chunk)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{shown(place)}: cannot be read: {error}") from error
    return sha.hexdigest()
