"""Place: the one contract for wherever a store lies. Its primitive is to create a file if there is none."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mica.data.location import shown
from mica.errors import UserError
from mica.sweep.store.layout import PROBES, SET_ASIDE


class Obstacle(OSError):
    """What stands under a name is no file: a folder, a pipe, or a link that leads nowhere."""


class Unreachable(OSError):
    """The place does not answer, or not as it should; what it holds may be whole."""


class Place(ABC):
    """Files by their names below one root, each there whole or not at all.

    Every method raises `OSError` when the place fails; its message names the place without credentials.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        """A path or a URI, as it can be opened again."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.address,)

    @property
    def shown(self) -> str:
        """The address as messages show it: without credentials."""
        return shown(self.address)

    @property
    def local(self) -> Path | None:
        """The root as a path, where it is one."""
        return None

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        """Create a file unless there is one; returns whether what is there now is this content.

        So a writer whose request was carried out, though it heard otherwise or nothing, knows its own.

        Args:
            durable: whether it must survive a power cut.
        """
        try:
            if self._create(name, content, durable=durable):
                return True
        except OSError:
            if not self._holds(name, content):
                raise
            return True
        return self._holds(name, content)

    def check(self) -> None:
        """Create the root and try it out: raises `UserError` where two writers may both win one name."""
        name, first, second = f"{PROBES}/{uuid4().hex}", uuid4().bytes, uuid4().bytes
        try:
            refused = self.create(name, first) and not self._create(name, second, durable=True)
            stands = self.read(name)
            self.delete(name)
        except OSError as error:
            raise UserError(f"storage {self.shown}: cannot be written: {error}") from error
        if not refused or stands != first:
            raise UserError(
                f"storage {self.shown}: lets two writers create the same name, so records could be lost; "
                "use storage that honours create-if-absent (If-None-Match: *, hard links)"
            )

    def set_aside(self, name: str) -> str | None:
        """Move what stands under a name out of the way, whatever it is; to where, or None: it is gone."""
        target = f"{SET_ASIDE}/{name.replace('/', '_')}-{uuid4().hex[:8]}"
        return target if self._move(name, target) else None

    def upload(self, source: Path, name: str) -> None:
        """Copy a local folder's files to a folder below the root, over what stands there."""
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            self.upload_file(file, f"{name}/{file.relative_to(source).as_posix()}")

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return self.read(name) == content
        except OSError:
            return False

    @abstractmethod
    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        """Create a file unless there is one; returns whether this call did."""

    @abstractmethod
    def _move(self, name: str, to: str) -> bool:
        """Move a file; False: there was none."""

    @abstractmethod
    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file, over what stands there."""

    @abstractmethod
    def upload_file(self, source: Path, name: str) -> None:
        """Copy a local file, however large, over what stands there."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is none."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO | None:
        """A file to read parts of; None when there is none."""

    @abstractmethod
    def list(self, folder: str) -> list[str]:
        """All names that begin with `folder/`, sorted; a folder that is not there is empty."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file; it is no error if there is none."""
