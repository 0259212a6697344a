"""The tables of a store in all its parts, against what its records say one by one; and the command itself."""

import shutil
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from mica.sweep.store.records import Store
from mica.sweep.store.segments import fold, segments
from mica.sweep.store.stored import Stored
from mica.sweep.store.tables import write_tables
from mica.sweep.sweep import open_sweep
from mica.trial import TrialSpec
from tests.scale.made_up import made_up, make_store, specs_of, sweep_file

RECORDS, EPOCHS = 300, 3


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records in one segment, some of them in a second too as another driver left it, some in none."""
    folder = tmp_path_factory.mktemp("scale") / "store"
    sweep = sweep_file(folder, EPOCHS)
    make_store(sweep, RECORDS)
    specs = list(islice(specs_of(sweep), RECORDS + 4))
    store, other = Store(str(folder)), Store(str(folder.parent / "other"))
    for spec in specs[:20]:
        other.put(made_up(spec))
    fold(other, at_least=1)
    shutil.copytree(Path(other.place.address) / "segments", folder / "segments", dirs_exist_ok=True)
    for spec in specs[RECORDS:-1]:
        store.put(made_up(spec))
    for spec in (specs[0], specs[-1]):  # of the first there is a record, which counts
        store.put(failed(spec))
    assert len(list(segments(store.place))) == 2
    return sweep


def failed(spec: TrialSpec) -> Stored:
    record = made_up(spec).record
    changes = {"outcome": "failed", "error": "Traceback …\nRuntimeError: a bug\n", "layers": (), "epochs": ()}
    return Stored(spec.key, "scale", record.model_copy(update=changes))


def read(place: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(place / "tables" / f"{table}.parquet")


def test_the_tables_say_what_the_records_say(sweep: Path) -> None:
    opened = open_sweep(sweep)
    store, place = opened.store, Path(opened.store.place.address)
    write_tables(store, opened.grid.trials)
    items = sorted(store.load(), key=lambda item: item.key)
    assert len(items) == RECORDS + 4

    trials = read(place, "trials").set_index("trial_key").sort_index()
    assert trials.index.tolist() == [item.key for item in items]
    plain = [
        {
            "outcome": item.record.outcome,
            "seed": item.record.spec.seed,
            "method": str(item.record.spec.method),
            "host": item.record.provenance.host,
            "protocol_epochs": item.record.spec.protocol.epochs,
            **item.record.results.model_dump(),
            **item.record.mask.model_dump(exclude={"digest", "outputs_reached"}),  # type: ignore[union-attr]
        }
        for item in items
    ]
    expected = pd.DataFrame(plain, index=trials.index)
    pd.testing.assert_frame_equal(trials[expected.columns], expected, check_dtype=False)

    for name in ("layers", "epochs"):
        rows = [
            {"trial_key": item.key, **row.model_dump()}
            for item in items
            for row in getattr(item.record, name)
        ]
        expected = pd.DataFrame(rows)
        if name == "layers":
            expected["shape"] = [",".join(map(str, shape)) for shape in expected["shape"]]
        pd.testing.assert_frame_equal(read(place, name), expected, check_dtype=False)


def test_tables_are_written_again_only_when_something_has_changed(sweep: Path, tmp_path: Path) -> None:
    opened = open_sweep(sweep)
    store = Store(str(shutil.copytree(opened.store.place.address, tmp_path / "store")))

    def written() -> bool:
        files = sorted((tmp_path / "store" / "tables").glob("*.parquet"))
        before = [file.stat().st_mtime_ns for file in files]
        names = write_tables(store, opened.grid.trials)
        assert names == [f"tables/{name}.parquet" for name in ("trials", "layers", "epochs")]
        return before != [(tmp_path / "store" / name).stat().st_mtime_ns for name in sorted(names)]

    written()
    assert not written()
    spec = next(islice(specs_of(sweep), RECORDS + 10, None))
    store.put(made_up(spec))
    assert written() and not written()
    (tmp_path / "store" / "tables" / "layers.parquet").write_bytes(b"PAR1 torn")
    assert written() and not written()
    store.put(failed(spec.model_copy(update={"seed": 99})))
    assert written() and not written()
    keys = pq.read_table(tmp_path / "store" / "tables" / "trials.parquet")["trial_key"].to_pylist()
    assert len(keys) == len(set(keys)) == RECORDS + 6
