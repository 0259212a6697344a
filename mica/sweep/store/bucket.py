"""An object store (S3, Google Cloud Storage, Azure) as a store's place."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from mica.data.location import shown
from mica.errors import UserError
from mica.sweep.store.place import Place

_CLIENT: Any = {"timeout": "30s", "connect_timeout": "5s"}
_RETRY: Any = {
    "max_retries": 6,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
"""A short outage is waited for; credentials and endpoint come from the environment, as every tool's do."""


class Bucket(Place):
    """A URI such as `s3://bucket/folder`. An object appears when its upload is complete."""

    def __init__(self, address: str) -> None:
        """Raises `UserError` when the URI cannot be understood; nothing is asked of the store yet."""
        super().__init__(address.rstrip("/"))
        try:
            self._store: Any = from_url(self.address, client_options=_CLIENT, retry_config=_RETRY)
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
                return cast(BinaryIO, obstore.open_reader(self._store, name))
        except FileNotFoundError:
            return None

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

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """obstore's errors as the system's, in one line without credentials."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise FileExistsError(f"{self.shown}/{name}") from error
        except BaseError as error:
            raise OSError(f"{self.shown}/{name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return shown(str(error).partition("\n")[0])
