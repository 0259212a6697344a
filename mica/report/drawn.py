"""Which results the figures in a store show, so that nobody draws them twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mica.sweep.store.layout import DRAWN, FIGURES
from mica.sweep.store.place import Place


@dataclass(frozen=True)
class Drawn:
    """Figures that lie in a store."""

    state: str
    """A digest of all that decides what they look like."""
    figures: Sequence[str]
    """Their files' names."""


def read_drawn(place: Place) -> Drawn | None:
    """What was drawn last; None where nothing was, or not all of it is there."""
    there = set(place.list(FIGURES))
    try:
        found = json.loads(place.read(DRAWN) or b"")
        drawn = Drawn(str(found["state"]), [str(name) for name in found["figures"]])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return drawn if all(f"{FIGURES}/{name}" in there for name in drawn.figures) else None


def write_drawn(place: Place, drawn: Drawn) -> None:
    """Say what was drawn."""
    place.write(DRAWN, json.dumps(asdict(drawn)).encode(), durable=False)
