"""Whether MLflow shows all that a sweep has: a small file beside the records says so, without MLflow.

It needs no record and no import of MLflow: a sweep that has nothing to run is checked in a moment.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress

from mica.data.location import shown
from mica.sweep.store.place import Place
from mica.sweep.track import database
from mica.sweep.track.fields import VERSION

Outcomes = Mapping[str, str]
"""Key → how the trial ended, of every trial of the sweep that has a record."""


def marker(sweep: str) -> str:
    """The file's path in the store."""
    return f"mlflow/{sweep}.json"


def is_level(place: Place, uri: str, sweep: str, outcomes: Outcomes, *, complete: bool) -> bool:
    """Whether MLflow was last seen to show exactly this; never raises.

    Args:
        complete: these are all trials of the sweep, so that it is to be shown as finished.
    """
    try:
        content = place.read(marker(sweep))
        return content is not None and json.loads(content) == _content(uri, outcomes, complete)
    except (OSError, ValueError):
        return False


def mark_level(place: Place, uri: str, sweep: str, outcomes: Outcomes, *, complete: bool) -> None:
    """Note that MLflow shows exactly this, for `is_level`; where that cannot be written nothing is lost."""
    with suppress(OSError):
        place.write(marker(sweep), json.dumps(_content(uri, outcomes, complete), indent=1).encode())


def _content(uri: str, outcomes: Outcomes, complete: bool) -> dict[str, object]:
    file = database.file_of(uri)
    inode = None if file is None else database.identity(file)
    if file is not None and inode is None:
        raise FileNotFoundError(str(file))  # deleted: nothing is shown, whatever was
    return {
        "uri": shown(uri),
        "file": inode,  # one that was deleted and made again shows nothing yet
        "fields": VERSION,
        "complete": complete,
        "trials": len(outcomes),
        "digest": _digest(outcomes),
    }


def _digest(outcomes: Outcomes) -> str:
    sha = hashlib.sha256()
    for key in sorted(outcomes):
        sha.update(f"{key} {outcomes[key]}\n".encode())
    return sha.hexdigest()
