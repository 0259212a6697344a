"""The three Parquet tables that pandas reads: a row a trial, a row a layer, a row an epoch.

They are written piece by piece: of a store of any size only the trials are in memory at once.
"""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mica import __version__
from mica.sweep.store.columns import EPOCHS, LAYERS, TRIALS, labels_of, table_of
from mica.sweep.store.index import Index, code_of
from mica.sweep.store.layout import TABLES
from mica.sweep.store.records import Store
from mica.sweep.store.segments import PREFIXES, Lost, Segment, fold, segments
from mica.trial.spec import TrialSpec

T = TypeVar("T")

_ORDER = ("dataset", "model", "method", "budget", "log10_ratio", "seed", "trial_key")
"""So that a table does not depend on the order in which trials ended."""
_FILES = {name: f"{TABLES}/{name}.parquet" for name in ("trials", "layers", "epochs")}
_STATE = b"state"
"""In each file: the state of the store that it shows, so that nobody writes it twice."""


def write_tables(
    store: Store, trials: Mapping[str, TrialSpec], names: Collection[str] | None = None
) -> list[str]:
    """Write trials, layers and epochs of all that a store holds; returns their names below its place.

    Args:
        trials: those of a sweep file, by key, whose titles the tables show.
        names: of the records, as listed a moment ago; None: they are listed.
    """
    state = _state_of(store, trials, store.names() if names is None else names)
    if all(_state_in(store, name) == state for name in _FILES):
        return list(_FILES.values())  # of 100,000 records they take a minute to write
    fold(store)
    _undisturbed(lambda lost: _write_tables(store, Rows.of(store, trials, lost), state))
    return list(_FILES.values())


def _write_tables(store: Store, rows: "Rows", state: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mica-tables-") as folder:
        for name, schema, tables in (
            ("trials", TRIALS, iter([rows.trials()])),
            ("layers", LAYERS, (rows.parts("layer_rows", prefix, LAYERS) for prefix in PREFIXES)),
            ("epochs", EPOCHS, (rows.parts("epoch_rows", prefix, EPOCHS) for prefix in PREFIXES)),
        ):
            file = Path(folder, f"{name}.parquet")
            with pq.ParquetWriter(file, schema.with_metadata({_STATE: state}), compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table)
            store.place.upload_file(file, _FILES[name])


def read_trials(store: Store, trials: Mapping[str, TrialSpec], keys: Collection[str]) -> pa.Table:
    """The rows of these keys, of the table that `write_tables` wrote."""
    return _relabelled(_read(store, "trials", TRIALS, keys), trials).cast(TRIALS)


def read_layers(store: Store, keys: Collection[str]) -> pa.Table:
    """Likewise of the table `layers`."""
    return _read(store, "layers", LAYERS, keys)


def read_epochs(store: Store, keys: Collection[str]) -> pa.Table:
    """Likewise of the table `epochs`."""
    return _read(store, "epochs", EPOCHS, keys)


def _read(store: Store, name: str, schema: pa.Schema, keys: Collection[str]) -> pa.Table:
    content = store.place.open(_FILES[name])
    if content is None:
        return schema.empty_table()
    with content:
        chosen = pc.field("trial_key").isin(pa.array(keys, pa.string()))
        return pq.read_table(content, filters=chosen)


def _state_of(store: Store, trials: Mapping[str, TrialSpec], names: Collection[str]) -> str:
    """Of all that decides what the tables hold: columns, the names of records, failed attempts, titles."""
    said = hashlib.sha256(f"{__version__} {TRIALS.to_string()} {LAYERS} {EPOCHS}".encode())
    said.update("\n".join(sorted(names)).encode())
    for attempt in sorted(store.failures().items()):
        said.update(f"{attempt}\n".encode())
    for key, spec in sorted(trials.items()):
        said.update(f"{key} {labels_of(spec)} {code_of(spec)}\n".encode())
    return said.hexdigest()


def _state_in(store: Store, table: str) -> str | None:
    """Of which a table was written; None: of none that is known."""
    try:
        content = store.place.open(_FILES[table])
        if content is None:
            return None
        with content:
            return str((pq.read_schema(content).metadata or {}).get(_STATE, b"").decode())
    except (pa.ArrowException, OSError, ValueError):  # damaged; it is written anew
        return None


def trials_table(store: Store, trials: Mapping[str, TrialSpec]) -> pa.Table:
    """A row a trial, its columns documented in the fields' metadata; reads only, and no epochs."""
    return _undisturbed(lambda lost: Rows.of(store, trials, lost).trials())


def _undisturbed(read: Callable[[set[str]], T]) -> T:
    """Read anew without the segments that are lost meanwhile: merged by others, or damaged."""
    lost: set[str] = set()
    while True:
        try:
            return read(lost)
        except Lost as error:
            lost.add(error.path)


@dataclass(frozen=True)
class _Source:
    """Rows of one segment, or of what is in none."""

    read: Callable[[list[str]], pa.Table]
    read_prefix: Callable[[str, list[str]], pa.Table]

    @classmethod
    def of_segment(cls, segment: Segment) -> "_Source":
        return cls(segment.read, segment.read_prefix)

    @classmethod
    def of_table(cls, table: pa.Table) -> "_Source":
        def read_prefix(prefix: str, columns: list[str]) -> pa.Table:
            return table.filter(pc.starts_with(table["name"], prefix)).select(columns)

        return cls(table.select, read_prefix)


@dataclass(frozen=True)
class Rows:
    """One row for each trial of a store, wherever it lies."""

    titled: Mapping[str, TrialSpec]
    """Trials by key whose titles count."""
    sources: list[_Source]
    chosen: pa.Array
    """The names of the records that count: one for each trial."""

    @classmethod
    def of(cls, store: Store, titled: Mapping[str, TrialSpec], lost: Collection[str]) -> "Rows":
        """Of all that has a record, or whose last attempt failed; these segments are not read."""
        index = Index(store, titled, others=True)
        found = [segment for segment in segments(store.place) if segment.path not in lost]
        held = {name for segment in found for name in segment.names.to_pylist()}
        loose = [
            stored
            for key, entry in index.entries.items()
            if entry.name not in held or entry.outcome == "failed"
            if (stored := index.stored(key))
        ]
        sources = [_Source.of_segment(segment) for segment in found] + [_Source.of_table(table_of(loose))]
        return cls(titled, sources, pa.array([entry.name for entry in index.entries.values()], pa.string()))

    def trials(self) -> pa.Table:
        """The table `trials`, sorted."""
        table = self._once(source.read(["name", *TRIALS.names]) for source in self.sources)
        order = [(name, "ascending") for name in _ORDER]
        return _relabelled(table.select(TRIALS.names), self.titled).sort_by(order).cast(TRIALS)

    def parts(self, lists: str, prefix: str, schema: pa.Schema) -> pa.Table:
        """The rows in these lists, of the records whose names begin with this digit."""
        columns = ["name", "trial_key", lists]
        table = self._once(source.read_prefix(prefix, columns) for source in self.sources).sort_by(
            "trial_key"
        )
        rows = table[lists].combine_chunks()
        keys = table["trial_key"].take(pc.list_parent_indices(rows))
        return pa.table([keys, *pc.list_flatten(rows).flatten()], schema=schema)

    def _once(self, tables: Iterator[pa.Table]) -> pa.Table:
        """The rows that count; of those that two drivers have folded the first."""
        table = pa.concat_tables(tables)
        table = table.filter(pc.is_in(table["name"], self.chosen))
        names = table["name"].combine_chunks().dictionary_encode().indices.to_numpy()
        return table.take(np.sort(np.unique(names, return_index=True)[1]))


def _relabelled(table: pa.Table, titled: Mapping[str, TrialSpec]) -> pa.Table:
    """With the titles that the sweep file gives now to what it names."""
    if not titled:
        return table
    keys = table["trial_key"].to_pylist()
    labels = {key: labels_of(titled[key]) for key in keys if key in titled}
    for name in labels_of(next(iter(titled.values()))):
        values = table[name].to_pylist()
        new = [labels[key][name] if key in labels else value for key, value in zip(keys, values, strict=True)]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, TRIALS.field(name), pa.array(new, pa.string()))
    return table
