"""A folder of this machine, or one that several machines share, as a store's place."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mica.errors import UserError
from mica.files import TEMPORARY, copy_file, create_file, write_file
from mica.sweep.store.place import Obstacle, Place

_Names = list[str]
"""`Folder.list` hides the type inside the class."""


class Folder(Place):
    """A local path. A hard link from a finished file is what creates a name: that is atomic on NFS too."""

    def __init__(self, address: str) -> None:
        """Raises `UserError` when the path is a file's; nothing is created yet."""
        super().__init__(os.path.abspath(address))
        if os.path.isfile(self.address):
            raise UserError(f"storage {self.address}: is a file; allowed is a folder")

    @property
    def local(self) -> Path:
        """See `Place`."""
        return Path(self.address)

    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        return create_file(self._path(name), content, durable=durable)

    def _move(self, name: str, to: str) -> bool:
        target = self._path(to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.rename(self._path(name), target)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """See `Place`."""
        write_file(self._path(name), content, durable=durable)

    def upload_file(self, source: Path, name: str) -> None:
        """See `Place`."""
        copy_file(source, self._path(name), durable=True)

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            return file.read()

    def open(self, name: str) -> BinaryIO | None:
        """See `Place`."""
        path = self._path(name)
        try:
            file = open(path, "rb", opener=_at_once)  # noqa: SIM115 (the caller closes it)
        except IsADirectoryError:
            raise Obstacle(f"{path}: a folder stands there") from None
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                raise Obstacle(f"{path}: a link stands there that leads nowhere") from None
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # links in a circle, a socket
                raise Obstacle(f"{path}: something stands there that is no file") from None
            raise
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise Obstacle(f"{path}: something stands there that is no file")
        return file

    def list(self, folder: str) -> list[str]:
        """See `Place`."""
        found: _Names = []
        self._walk(self._path(folder) if folder else self.address, found)
        return sorted(found)

    def delete(self, name: str) -> None:
        """See `Place`."""
        try:
            os.unlink(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return

    def _walk(self, path: str, found: _Names) -> None:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._walk(entry.path, found)
                    elif not entry.name.endswith(TEMPORARY):
                        found.append(entry.path[len(self.address) + 1 :])
        except (FileNotFoundError, NotADirectoryError):
            return

    def _path(self, name: str) -> str:
        return f"{self.address}/{name}"


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for anybody at the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
