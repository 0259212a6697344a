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

State = Mapping[str, object]
"""What is shown, in JSON's terms; equal where MLflow shows the same."""


def marker(what: str) -> str:
    """The file's path in the store."""
    return f"mlflow/{what}.json"


def of_trials(outcomes: Mapping[str, str], *, complete: bool) -> State:
    """That MLflow shows these trials.

    Args:
        outcomes: key → how the trial ended, of every trial of the sweep that has a record.
        complete: these are all trials of the sweep, so that it is to be shown as finished.
    """
    sha = hashlib.sha256()
    for key in sorted(outcomes):
        sha.update(f"{key} {outcomes[key]}\n".encode())
    return {"complete": complete, "trials": len(outcomes), "digest": sha.hexdigest()}


def is_level(place: Place, uri: str, what: str, state: State) -> bool:
    """Whether MLflow was last seen to show exactly this of what has that name; never raises."""
    try:
        content = place.read(marker(what))
        return content is not None and json.loads(content) == _content(uri, state)
    except (OSError, ValueError):
        return False


def mark_level(place: Place, uri: str, what: str, state: State) -> None:
    """Note that MLflow shows exactly this, for `is_level`; where that cannot be written nothing is lost."""
    with suppress(OSError):
        place.write(marker(what), json.dumps(_content(uri, state), indent=1).encode())


def _content(uri: str, state: State) -> dict[str, object]:
    file = database.file_of(uri)
    inode = None if file is None else database.identity(file)
    if file is not None and inode is None:
        raise FileNotFoundError(str(file))  # deleted: nothing is shown, whatever was
    # A file that was deleted and made again shows nothing yet.
    return {"uri": shown(uri), "file": inode, "fields": VERSION, **state}
