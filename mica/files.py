"""Where this user's caches lie: what is there costs time to lose, and nothing else."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder $MICA_CACHE; else `mica` in the user's cache folder, or one for temporary files."""
    place = os.environ.get("MICA_CACHE")
    if place:
        return Path(place)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mica"
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir(), "mica-cache")
