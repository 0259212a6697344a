"""A folder on this machine or in an object store, with writes that happen whole or not at all."""

import os
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from mica.data.location import expand, is_uri
from mica.errors import UserError
from mica.files import TEMPORARY, write_file


class Folder:
    """Files by their path below one root: a local path, or any URI that `pyarrow.fs` opens."""

    def __init__(self, place: str) -> None:
        """Raises `UserError` when the place cannot be understood; nothing is created yet."""
        self.place = expand(place)
        try:
            if is_uri(self.place):
                self._fs, self._root = fs.FileSystem.from_uri(self.place)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(self.place).absolute())
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"storage {place}: cannot be opened: {error}") from error
        if self.local and os.path.isfile(self._root):  # `Path` raises for a name that is too long
            raise UserError(f"storage {place}: is a file; allowed is a folder")

    def __reduce__(self) -> tuple[object, ...]:
        return Folder, (self.place if is_uri(self.place) else self._root,)

    @property
    def local(self) -> Path | None:
        """The root as a path, where it is on this machine."""
        return Path(self._root) if isinstance(self._fs, fs.LocalFileSystem) else None

    def check_writable(self) -> None:
        """Create the root and write a file into it; raises `UserError` when that fails."""
        try:
            self.write(".probe", b"")
            self.delete(".probe")
        except OSError as error:
            raise UserError(f"storage {self.place}: cannot be written: {error}") from error

    def write(self, name: str, content: bytes) -> None:
        """Write durably: readers see the whole file or none."""
        path = self._path(name)
        if self.local:
            write_file(path, content, durable=True)
            return
        # An object appears when its upload is complete, so no rename is needed, nor a folder.
        with self._fs.open_output_stream(path) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is none."""
        try:
            with self._fs.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None

    def list(self, name: str) -> list[str]:
        """All files below a folder, as paths below the root, sorted; temporary ones are left out.

        Raises `UserError` when the place cannot be read. A folder that is not there is empty.
        """
        selector = fs.FileSelector(self._path(name), recursive=True, allow_not_found=True)
        try:
            infos = self._fs.get_file_info(selector)
        except OSError as error:  # no such server, no right to look
            raise UserError(f"storage {self.place}: cannot be read: {error}") from error
        found = [info.path for info in infos if info.type == fs.FileType.File]
        prefix = self._root.rstrip("/") + "/"
        return sorted(path.removeprefix(prefix) for path in found if not path.endswith(TEMPORARY))

    def delete(self, name: str) -> None:
        """Delete a file; it is no error if there is none."""
        try:
            self._fs.delete_file(self._path(name))
        except FileNotFoundError:
            return

    def move(self, name: str, to: str) -> None:
        """Move a file within the root, over what stands there."""
        target = self._path(to)
        self._fs.create_dir(target.rpartition("/")[0], recursive=True)
        self._fs.move(self._path(name), target)

    def upload(self, source: Path, name: str) -> None:
        """Copy a local folder's files to a folder below the root, each whole or not at all."""
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            self.write(f"{name}/{file.relative_to(source).as_posix()}", file.read_bytes())

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"
