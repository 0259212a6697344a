"""Results to read: those of a sweep file, or all that a folder holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mica.data import DataSource
from mica.errors import UserError
from mica.sweep.store.layout import RECORDS, SEGMENTS
from mica.sweep.store.records import Store, Stored
from mica.sweep.sweep import open_sweep
from mica.trial.spec import TrialSpec


@dataclass(frozen=True)
class Results:
    """Records, and how many there are to be where a sweep file says so."""

    name: str
    store: Store
    stored: Mapping[str, Stored]
    everything: Mapping[str, Stored]
    """All records of the store, other sweeps' too."""
    trials: Mapping[str, TrialSpec]
    """Key → trial: the sweep's whole grid, or the trials that have a record."""
    sources: Mapping[str, DataSource]
    """Data set's label → where it is; nothing where no sweep file says so."""
    mlflow_uri: str | None
    place: Path
    """The sweep file or the folder that was opened."""


def open_results(place: Path, storage: str | None = None) -> Results:
    """The results of a sweep file or of a results folder; writes nothing. Raises `UserError`."""
    if place.suffix in (".yaml", ".yml") or place.is_file():
        sweep = open_sweep(place, storage)
        everything, trials = sweep.store.load(), sweep.grid.trials
        stored = {key: everything[key] for key in trials if key in everything}
        sources = sweep.grid.sources
        return Results(
            sweep.spec.name, sweep.store, stored, everything, trials, sources, sweep.mlflow_uri, place
        )
    store = Store(storage or str(place))
    if not store.folder.list(RECORDS) and not store.folder.list(SEGMENTS):
        raise UserError(f"{place}: neither a sweep file (.yaml) nor a folder with results")
    stored = store.load()
    trials = {key: item.record.spec for key, item in stored.items()}
    return Results(place.name, store, stored, stored, trials, {}, None, place)


def find_trial(key: str, place: Path, storage: str | None = None) -> tuple[str, TrialSpec, Stored | None]:
    """The one trial whose key begins so, and its record if it has one.

    Raises:
        UserError: no trial or several begin so.
    """
    results = open_results(place, storage)
    matches = [known for known in results.trials if known.startswith(key)]
    if len(matches) != 1:
        found = "no trial" if not matches else f"{len(matches)} trials"
        raise UserError(
            f"{found} of {place} with a key that begins with {key!r}; `mica-sweep plan --keys` lists them"
        )
    return matches[0], results.trials[matches[0]], results.stored.get(matches[0])
