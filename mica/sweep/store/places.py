"""From a storage's name to its place."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mica.data.location import expand, is_uri
from mica.sweep.store.folder import Folder
from mica.sweep.store.place import Place


def open_place(storage: str) -> Place:
    """The place that a path or a URI names, `$VARS` and `~` filled in; nothing is created yet.

    Raises `UserError` when it cannot be understood.
    """
    address = expand(storage)
    if address.startswith("file://"):
        return Folder(unquote(urlsplit(address).path))
    if not is_uri(address):
        return Folder(str(Path(address).absolute()))
    from mica.sweep.store.bucket import Bucket  # only those who have one wait for its library

    return Bucket(address)
