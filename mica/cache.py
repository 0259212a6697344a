"""Where this user's caches lie: what is there costs time to lose, and nothing else."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder $MICA_CACHE; else `mica` in the user's cache folder."""
    place = os.environ.get("MICA_CACHE")
    return Path(place) if place else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mica"
