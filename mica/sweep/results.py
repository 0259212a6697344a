"""Results to read: those of a sweep file, or all that a folder holds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mica.data import DataSource
from mica.errors import CodeError, DataError, UserError
from mica.sweep.course import Rung
from mica.sweep.plan.remarks import default_protocols, scarce_edges
from mica.sweep.plan.spec import load_home
from mica.sweep.store.index import Entry, Index, code_of
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.sweep.sweep import Sweep, open_sweep
from mica.trial.spec import TrialSpec
from mica.wording import counted


@dataclass(frozen=True, kw_only=True)
class Results:
    """How trials ended, and which there are to be where a sweep file says so."""

    name: str
    store: Store
    trials: Mapping[str, TrialSpec]
    """Key → trial: the sweep's whole grid; nothing where no sweep file says so."""
    sources: Mapping[str, DataSource]
    """Data set's label → where it is; likewise."""
    index: Index
    """Of these trials; of all that the store holds where no sweep file says which."""
    mlflow: str | None
    """Where MLflow shows them, for people to read; None: nowhere."""
    place: Path
    """The sweep file or the folder that was opened."""
    rungs: tuple[Rung, ...] = ()
    """Of a search, as far as it has come."""
    to_come: int = 0
    """How many trials a search is to have beside those."""
    storage: str | None = None
    """What was opened in place of the file's own storage."""
    note: str | None = None
    """Why these are not the trials of the sweep file, where they are not."""

    @property
    def opened(self) -> str:
        """What a command line names to open them again."""
        return f"{self.place} --storage {self.storage}" if self.storage else str(self.place)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Key → how a trial ended."""
        return self.index.entries

    @property
    def total(self) -> int:
        """How many trials there are to be."""
        return len(self.trials) + self.to_come or len(self.entries)

    @property
    def missing(self) -> list[TrialSpec]:
        """The trials that have not ended."""
        return [trial for key, trial in self.trials.items() if key not in self.entries]

    @property
    def remarks(self) -> list[str]:
        """What somebody should know before the sweep runs; nothing where no sweep file says what will."""
        if not self.sources:
            return []
        found = [*default_protocols(self.missing), *scarce_edges(self.missing, self.sources)]
        if self.to_come:
            found.append(f"{counted(self.to_come, 'trial')} of the search's later waves are in no hours yet")
        return found

    @cached_property
    def changed(self) -> Mapping[str, tuple[str, ...]]:
        """Keys of records made by other code of the user's than is there now → names of the functions.

        Failed trials are left out: they are no results.
        """
        found = {}
        for key, trial in self.trials.items():
            entry = self.entries.get(key)
            if entry is None or entry.outcome == "failed":
                continue
            names = tuple(sorted({name for name, _ in {*entry.code} ^ {*code_of(trial)}}))
            if names:
                found[key] = names
        return found


def open_results(place: Path, storage: str | None = None) -> Results:
    """The results of a sweep file or of a results folder; writes nothing. Raises `UserError`."""
    if not _is_file(place):
        return _all_of(Store(storage or str(place)), place.name, place, storage)
    return results_of(open_sweep(place, storage), place, storage)


def results_of(sweep: Sweep, place: Path, storage: str | None = None) -> Results:
    """Those of a sweep that was opened at this place, and with this storage if not its own."""
    return Results(
        name=sweep.spec.name,
        store=sweep.store,
        trials=sweep.grid.trials,
        index=sweep.index,
        sources=sweep.grid.sources,
        mlflow=sweep.mlflow,
        place=place,
        storage=storage,
        rungs=sweep.course.rungs if sweep.course else (),
        to_come=sweep.to_come,
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
            found = _all_of(Store(storage or home.store), home.name, place, storage)
        except UserError:
            raise error from None
        first, *more = str(error).splitlines()
        rest = f" (and {len(more)} more)" if more else ""
        note = f"{first}{rest}; so these are all {found.total:,} records of {found.store.place.shown}"
        return replace(found, note=note)


def find_trial(key: str, place: Path, storage: str | None = None) -> tuple[str, TrialSpec, Stored | None]:
    """The one trial whose key begins so, and its record if it has one.

    Raises:
        UserError: no trial or several begin so.
    """
    results = open_results(place, storage)
    matches = [known for known in results.trials or results.entries if known.startswith(key)]
    if len(matches) != 1:
        found = "no trial" if not matches else f"{len(matches)} trials"
        raise UserError(
            f"{found} of {place} with a key that begins with {key!r}; `mica-sweep plan --keys` lists them"
        )
    stored = results.index.stored(matches[0]) if matches[0] in results.entries else None
    if stored is None and matches[0] not in results.trials:
        raise UserError(f"the record of {matches[0]} cannot be read")
    return matches[0], results.trials[matches[0]] if stored is None else stored.record.spec, stored


def _is_file(place: Path) -> bool:
    return place.suffix in (".yaml", ".yml") or place.is_file()


def _all_of(store: Store, name: str, place: Path, storage: str | None) -> Results:
    """All that a store holds."""
    index = Index(store, {}, others=True)
    if not index.entries:
        raise UserError(f"{place}: neither a sweep file (.yaml) nor a folder with results")
    return Results(
        name=name,
        store=store,
        trials={},
        sources={},
        index=index,
        mlflow=None,
        place=place,
        storage=storage,
    )
