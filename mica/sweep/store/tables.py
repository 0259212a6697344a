"""The three Parquet tables that pandas reads: a row a trial, a row a layer, a row an epoch.

They are written piece by piece: of a store of any size only the trials are in memory at once.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mica.sweep.store.columns import EPOCHS, LAYERS, TRIALS, labels_of, table_of
from mica.sweep.store.index import Index
from mica.sweep.store.layout import TABLES
from mica.sweep.store.records import Store
from mica.sweep.store.segments import PREFIXES, Lost, Segment, fold, segments
from mica.trial.spec import TrialSpec

T = TypeVar("T")

_ORDER = ("dataset", "model", "method", "budget", "log10_ratio", "seed", "trial_key")
"""So that a table does not depend on the order in which trials ended."""


def write_tables(store: Store, trials: Mapping[str, TrialSpec]) -> list[str]:
    """Write trials, layers and epochs of all that a store holds; returns their names below its place.

    Args:
        trials: those of a sweep file, by key, whose titles the tables show.
    """
    fold(store)
    _undisturbed(lambda lost: _write_tables(store, Rows.of(store, trials, lost)))
    return [f"{TABLES}/{name}.parquet" for name in ("trials", "layers", "epochs")]


def _write_tables(store: Store, rows: "Rows") -> None:
    with tempfile.TemporaryDirectory(prefix="mica-tables-") as folder:
        file = Path(folder, "trials.parquet")
        pq.write_table(rows.trials(), file, compression="zstd")
        store.place.upload_file(file, f"{TABLES}/trials.parquet")
        for name, rows_of, schema in (("layers", "layer_rows", LAYERS), ("epochs", "epoch_rows", EPOCHS)):
            file = Path(folder, f"{name}.parquet")
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for prefix in PREFIXES:
                    writer.write_table(rows.parts(rows_of, prefix, schema))
            store.place.upload_file(file, f"{TABLES}/{name}.parquet")


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
