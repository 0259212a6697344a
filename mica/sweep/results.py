"""Results to read: those of a sweep file, or all that a folder holds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mica.data import DataSource
from mica.errors import CodeError, DataError, UserError
from mica.sweep.plan.remarks import default_protocols, scarce_edges
from mica.sweep.plan.spec import load_home
from mica.sweep.store.layout import RECORDS, SEGMENTS
from mica.sweep.store.records import Store, Stored
from mica.sweep.sweep import open_sweep
from mica.trial.spec import TrialSpec
from mica.wording import shown


@dataclass(frozen=True, kw_only=True)
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
    note: str | None = None
    """Why these are not the trials of the sweep file, where they are not."""

    @property
    def missing(self) -> list[TrialSpec]:
        """The trials that have no record."""
        return [trial for key, trial in self.trials.items() if key not in self.stored]

    @property
    def remarks(self) -> list[str]:
        """What somebody should know before the sweep runs; nothing where no sweep file says what will."""
        if not self.sources:
            return []
        return [*default_protocols(self.missing), *scarce_edges(self.missing, self.sources)]

    @cached_property
    def changed(self) -> Mapping[str, tuple[str, ...]]:
        """Keys of records made by other code of the user's than is there now → names of the functions.

        Failed trials are left out: they are no results.
        """
        found = {}
        for key, item in self.stored.items():
            before, now = item.record.spec.code, self.trials[key].code
            names = tuple(sorted({name for name, _ in before.items() ^ now.items()}))
            if names and item.record.outcome != "failed":
                found[key] = names
        return found

    def titled(self, stored: Mapping[str, Stored]) -> list[Stored]:
        """These records, with the titles that the sweep file gives now to what it names."""
        return [_titled(item, self.trials.get(key)) for key, item in stored.items()]


def _titled(item: Stored, trial: TrialSpec | None) -> Stored:
    if trial is None or trial == item.record.spec:
        return item
    return replace(item, record=item.record.model_copy(update={"spec": trial}))


def open_results(place: Path, storage: str | None = None) -> Results:
    """The results of a sweep file or of a results folder; writes nothing. Raises `UserError`."""
    if not _is_file(place):
        return _all_of(Store(storage or str(place)), place.name, place)
    sweep = open_sweep(place, storage)
    everything, trials = sweep.store.load(), sweep.grid.trials
    return Results(
        name=sweep.spec.name,
        store=sweep.store,
        stored={key: everything[key] for key in trials if key in everything},
        everything=everything,
        trials=trials,
        sources=sweep.grid.sources,
        mlflow_uri=sweep.mlflow_uri,
        place=place,
    )


def open_records(place: Path, storage: str | None = None) -> Results:
    """`open_results` for those who only read what is done.

    Of a sweep file whose code or data are not there any more nobody knows the trials: these are then all
    records of its storage, and `note` says so. Raises `UserError` where there is none.
    """
    try:
        return open_results(place, storage)
    except (CodeError, DataError) as error:
        home = load_home(place)
        try:
            found = _all_of(Store(storage or home.store), home.name, place)
        except UserError:
            raise error from None
        first, *more = str(error).splitlines()
        rest = f" (and {len(more)} more)" if more else ""
        place_shown = shown(found.store.folder.place)
        note = f"{first}{rest}; so these are all {len(found.stored):,} records of {place_shown}"
        return replace(found, note=note)


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


def _is_file(place: Path) -> bool:
    return place.suffix in (".yaml", ".yml") or place.is_file()


def _all_of(store: Store, name: str, place: Path) -> Results:
    """All that a store holds."""
    if not store.folder.list(RECORDS) and not store.folder.list(SEGMENTS):
        raise UserError(f"{place}: neither a sweep file (.yaml) nor a folder with results")
    stored = store.load()
    return Results(
        name=name,
        store=store,
        stored=stored,
        everything=stored,
        trials={key: item.record.spec for key, item in stored.items()},
        sources={},
        mlflow_uri=None,
        place=place,
    )
