"""An object store (S3, Google Cloud Storage, Azure) as a store's place."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from mica.data.location import shown
from mica.errors import UserError
from mica.sweep.store.place import Place, Unreachable

_CLIENT: Any = {"timeout": "30s", "connect_timeout": "5s"}
_RETRY: Any = {
    "max_retries": 6,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
"""A short outage is waited for; credentials and endpoint come from the environment, as every tool's do."""
_AT_ONCE_BYTES = 1 << 20
"""An object up to this size is fetched whole when it is opened."""


class Bucket(Place):
    """A URI such as `s3://bucket/folder`. An object appears when its upload is complete."""

    def __init__(self, address: str) -> None:
        """Raises `UserError` when the URI cannot be understood; nothing is asked of the store yet."""
        super().__init__(address.rstrip("/"))
        try:
            options: Any = {**_CLIENT, "allow_http": _http_allowed()}
            self._store: Any = from_url(self.address, client_options=options, retry_config=_RETRY)
        except (BaseError, ValueError) as error:
            raise UserError(f"storage {self.shown}: cannot be opened: {_first_line(error)}") from error

    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        try:
            with self._errors(name):
                obstore.put(self._store, name, content, mode="create")
        except FileExistsError:
            return False
        return True

    def _move(self, name: str, to: str) -> bool:
        content = self.read(name)
        if content is None:
            return False
        self.write(to, content)
        # No object store moves in one step: what another has moved, and somebody made anew, stays.
        if self.read(name) != content:
            self.delete(to)
            return False
        self.delete(name)
        return True

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """See `Place`."""
        with self._errors(name):
            obstore.put(self._store, name, content)

    def upload_file(self, source: Path, name: str) -> None:
        """See `Place`."""
        with self._errors(name):
            obstore.put(self._store, name, source)

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        try:
            with self._errors(name):
                return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def open(self, name: str) -> BinaryIO | None:
        """See `Place`."""
        try:
            with self._errors(name):
                found = obstore.get(self._store, name)
                size = found.meta["size"]
                if size <= _AT_ONCE_BYTES:
                    return io.BytesIO(bytes(found.bytes()))
        except FileNotFoundError:
            return None
        return cast(BinaryIO, _Object(partial(self._read_range, name), size))

    def list(self, folder: str) -> list[str]:
        """See `Place`."""
        with self._errors(folder):
            found = obstore.list(self._store, prefix=folder or None, chunk_size=1000)
            return sorted(item["path"] for chunk in found for item in chunk)

    def delete(self, name: str) -> None:
        """See `Place`."""
        try:
            with self._errors(name):
                obstore.delete(self._store, name)
        except FileNotFoundError:
            return

    def _read_range(self, name: str, start: int, length: int) -> bytes:
        with self._errors(name):
            return bytes(obstore.get_range(self._store, name, start=start, length=length))

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """obstore's errors as the system's, in one line without credentials."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise FileExistsError(f"{self.shown}/{name}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.shown}/{name}: {_first_line(error)}") from error
        except (
            BaseError,
            OSError,
            ValueError,
            TypeError,
        ) as error:  # the last two: a name that it cannot have
            raise Unreachable(f"{self.shown}/{name}: {_first_line(error)}") from error


class _Object(io.RawIOBase):
    """An object as a file of which parts are read; what is asked for is fetched, and no more."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            buffer[:length] = self._read(self._at, length)
            self._at += length
        return length


def _http_allowed() -> bool:
    """Options that are given hide those of the environment, so this one is read here."""
    names = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y") for name in names)


def _first_line(error: Exception) -> str:
    return shown(str(error).partition("\n")[0])
