"""Records as tables: a row a trial, a row a layer, a row an epoch; every column typed and described."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mica.named import Named
from mica.pruning.methods import Method
from mica.sweep.drive.worker import failed
from mica.sweep.store.records import Store
from mica.sweep.store.segments import fold
from mica.sweep.store.stored import Stored, encode
from mica.sweep.store.tables import trials_table, write_tables
from mica.trial import TrialSpec, run
from tests.sweep.sample import coded, stored
from tests.trial.sample import EDGES, tiny

COLUMNS = {
    "trial_key": "string", "sweep": "string", "dataset": "string", "model": "string", "method": "string",
    "pruner": "string", "distribution": "string", "budget": "string", "log10_ratio": "double",
    "seed": "int64", "outcome": "string", "edges_total": "int64", "edges_budget": "int64",
    "edges_placed": "int64", "edges_functional": "int64", "corrected_ratio": "double",
    "functional_node_share": "double", "test_top1": "double", "test_top1_at_best_val": "double",
    "test_top1_max": "double", "val_top1": "double", "epochs": "int64", "flops_dense": "int64",
    "flops_masked": "int64", "flops_compact": "int64", "seconds_mask": "double", "seconds_train": "double",
    "rounding": "string", "pruner_options": "string",
    "distribution_options": "string", "pruner_title": "string",
    "distribution_title": "string", "test_top5": "double", "seconds_data": "double",
    "host": "string", "device": "string", "versions": "string", "error": "string", "protocol_lr": "double",
    "protocol_epochs": "int64", "protocol_nesterov": "bool", "protocol_train_size": "int64",
}  # fmt: skip


NAMES = ("trials", "layers", "epochs")


@pytest.fixture(scope="module")
def items() -> list[Stored]:
    """One real trial of each outcome."""
    completed = run(tiny())
    collapsed = run(tiny(method="rpi-erk", log10_ratio=3.0))
    diverged = run(tiny(method="dense", log10_ratio=0.0, protocol={"lr": 1e30}))
    broken = failed(tiny(method="rbpi-snip"), "Traceback …\nValueError: no", "cpu")
    records = (completed, collapsed, diverged, broken)
    return [Stored(str(n) * 64, "tiny", record) for n, record in enumerate(records)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def tables(
    store: Store, items: Iterable[Stored], titled: Mapping[str, TrialSpec] = {}
) -> dict[str, pa.Table]:
    """The three tables as they are written, of these records too."""
    for item in items:
        store.put(item)
    assert write_tables(store, titled) == [f"tables/{name}.parquet" for name in NAMES]
    return {name: pq.read_table(Path(store.place.address, f"tables/{name}.parquet")) for name in NAMES}


@pytest.fixture(scope="module")
def made(items: list[Stored], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return tables(Store(str(tmp_path_factory.mktemp("store"))), items)


@pytest.fixture(scope="module")
def trials(made: dict[str, pa.Table]) -> pd.DataFrame:
    return made["trials"].to_pandas().set_index("outcome")


def test_the_columns_of_the_trials_and_their_types(made: dict[str, pa.Table], store: Store) -> None:
    schema = made["trials"].schema
    assert {name: str(schema.field(name).type) for name in COLUMNS} == COLUMNS
    empty = tables(store, [])
    assert all(empty[name].schema == made[name].schema and not empty[name].num_rows for name in NAMES)


def test_every_column_of_every_table_says_what_it_is(made: dict[str, pa.Table]) -> None:
    for name, table in made.items():
        for field in table.schema:
            description = (field.metadata or {}).get(b"description", b"").decode()
            assert description not in ("", field.name), f"{name}.{field.name} has no description"


def test_a_completed_trial_s_row(items: list[Stored], trials: pd.DataFrame) -> None:
    row, record = trials.loc["completed"], items[0].record
    assert record.mask is not None
    assert row["trial_key"] == "0" * 64 and row["sweep"] == "tiny"
    assert row["dataset"] == "synthetic(channels=1,classes=4,size=8,test=20,train=60)"
    assert (row["model"], row["method"], row["pruner"]) == ("mlp(hidden=16x16)", "mica-erk", "mica")
    assert (row["distribution"], row["budget"], row["log10_ratio"]) == ("erk", "nominal", 0.6)
    assert (row["seed"], row["classes"], row["edges_total"], row["epochs"]) == (0, 4, EDGES, 3)
    for name, value in (
        record.results.model_dump() | record.mask.model_dump(exclude={"digest", "outputs_reached"})
    ).items():
        assert row[name] == value
    assert row["outputs_reached"] == "0,1,2,3" and row["log10_nominal"] == pytest.approx(0.6, abs=0.01)
    assert row["mask_digest"] == record.mask.digest
    assert row["seconds_train"] == record.provenance.seconds_train
    assert row["protocol_lr_drops"] == "0.375,0.75"
    assert pd.isna(row["error"]) and pd.isna(row["protocol_train_size"])


def test_a_collapsed_trial_has_counts_but_no_accuracies(trials: pd.DataFrame) -> None:
    row = trials.loc["collapsed"]
    assert row["edges_functional"] == 0 and row["edges_placed"] > 0 and row["epochs"] == 0
    assert row[["test_top1", "test_top5", "test_top1_max", "val_top1", "corrected_ratio"]].isna().all()


def test_a_failed_trial_has_its_axes_and_its_traceback_only(trials: pd.DataFrame) -> None:
    row = trials.loc["failed"]
    assert (row["method"], row["pruner"], row["distribution"]) == ("rbpi-snip", "snip", "global")
    assert row["error"].endswith("ValueError: no")
    assert row[["edges_total", "edges_functional", "test_top1", "flops_dense", "classes"]].isna().all()


def test_the_dense_network_has_neither_pruner_nor_distribution(trials: pd.DataFrame) -> None:
    row = trials.loc["diverged"]
    assert (row["pruner"], row["distribution"], row["log10_ratio"]) == ("none", "none", 0)


def row_of(folder: Path, method: str | Method) -> dict[str, Any]:
    store = Store(str(folder))
    store.put(stored(spec=tiny(method=method)))
    (row,) = trials_table(store, {}).to_pylist()
    return row


def test_a_method_s_options_stand_in_its_name_and_beside_it(tmp_path: Path) -> None:
    row = row_of(tmp_path / "one", "mica(node_counts=max)-synflow(iterations=30)")
    assert row["method"] == "mica(node_counts=max)-synflow(iterations=30)"
    assert (row["pruner"], row["distribution"]) == ("mica", "synflow")
    assert (row["pruner_options"], row["distribution_options"]) == ("node_counts=max", "iterations=30")
    assert row_of(tmp_path / "other", "mica(node_counts=random)-igq")["pruner_options"] == ""


TITLED = Method(
    pruner=Named(name="mica", options={"node_counts": "max"}, title="MiCA max"),
    distribution=Named(name="igq"),
)


def test_titles_stand_beside_the_names(tmp_path: Path) -> None:
    row = row_of(tmp_path, TITLED)
    assert (row["method"], row["pruner_title"]) == ("mica(node_counts=max)-igq", "MiCA max")
    assert row["distribution_title"] is None


@pytest.mark.parametrize("at_least", [1, 100])
def test_the_titles_of_the_sweep_file_count_wherever_the_record_lies(store: Store, at_least: int) -> None:
    titled = tiny(method=TITLED, model={"name": "mlp", "hidden": [16, 16], "title": "Small"})
    plain = tiny(method="mica(node_counts=max)-igq")
    for key, seed in (("a", 0), ("b", 1)):
        store.put(stored(key, spec=plain.model_copy(update={"seed": seed})))
    fold(store, at_least)
    rows = trials_table(store, {stored("a").key: titled}).to_pylist()
    found = [(row["trial_key"][0], row["model"], row["pruner_title"]) for row in rows]
    assert found == [("a", "Small", "MiCA max"), ("b", "mlp(hidden=16x16)", None)]
    assert rows[0]["method"] == "mica(node_counts=max)-igq"


def independent(items: Iterable[Stored]) -> dict[str, pd.DataFrame]:
    """The tables' numbers once more, by pandas alone, from what the records' files say."""
    bodies = [json.loads(json.loads(encode(item))["body"]) for item in items]
    trials = pd.json_normalize([{"trial_key": body["key"], **body["record"]} for body in bodies])
    parts = {name: [] for name in ("layers", "epochs")}
    for body in sorted(bodies, key=lambda body: body["key"]):
        for name, rows in parts.items():
            rows += [{"trial_key": body["key"], **row} for row in body["record"][name]]
    return {
        "trials": trials.set_index("trial_key"),
        **{name: pd.DataFrame(rows) for name, rows in parts.items()},
    }


def same(one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Equal, nulls to nulls."""
    return all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in zip(one, other, strict=True))


def test_the_numbers_are_those_of_the_records(made: dict[str, pa.Table], items: list[Stored]) -> None:
    found = {name: table.to_pandas() for name, table in made.items()}
    expected = independent(items)
    trials = found["trials"].set_index("trial_key")
    assert sorted(trials.index) == sorted(expected["trials"].index)
    compared = 0
    for column in expected["trials"]:
        part, _, name = column.rpartition(".")
        ours = {"spec.protocol": f"protocol_{name}", "mask": {"digest": "mask_digest"}.get(name, name),
                "results": name, "provenance": name, "spec": name, "": name}.get(part)  # fmt: skip
        values = expected["trials"][column]
        if ours not in trials or values.map(lambda value: isinstance(value, (list, dict))).any():
            continue
        assert same(trials[ours], values.loc[trials.index]), column
        compared += 1
    assert compared > 40
    for name in ("layers", "epochs"):
        table, rows = found[name], expected[name]
        assert list(table.columns) == list(rows.columns) and len(table) == len(rows) > 0
        for column in rows:
            values = [",".join(map(str, v)) if isinstance(v, list) else v for v in rows[column]]
            assert same(table[column], values), (name, column)
    sums = found["layers"].groupby("trial_key")[["edges", "placed", "functional"]].sum()
    for ours, theirs in (
        ("edges", "edges_total"),
        ("placed", "edges_placed"),
        ("functional", "edges_functional"),
    ):
        assert (sums[ours] == trials.loc[sums.index, theirs]).all()
    assert found["layers"]["shape"].head(3).tolist() == ["16,64", "16,16", "4,16"]


def test_a_loss_that_is_not_finite_is_null(made: dict[str, pa.Table]) -> None:
    epochs = made["epochs"].to_pandas()
    assert epochs[epochs["trial_key"] == "2" * 64]["val_loss"].isna().any()
    assert epochs[epochs["trial_key"] == "0" * 64].notna().all(axis=None)


def test_rows_depend_neither_on_the_order_of_trials_nor_on_folding(
    items: list[Stored], made: dict[str, pa.Table], tmp_path: Path
) -> None:
    more = [stored(f"{n % 16:x}{n}f", n, spec=tiny(seed=n % 3, log10_ratio=n / 10)) for n in range(30)]
    expected = tables(Store(str(tmp_path / "loose")), [*items, *more])
    keys = expected["trials"]["trial_key"].to_pylist()
    assert len(keys) == len(set(keys)) == 34
    order = ["dataset", "model", "method", "budget", "log10_ratio", "seed", "trial_key"]
    frame = expected["trials"].to_pandas()
    assert frame.equals(frame.sort_values(order, kind="stable").reset_index(drop=True))
    for name in ("layers", "epochs"):
        of = expected[name]["trial_key"].to_pylist()
        assert of == sorted(of)
    store = Store(str(tmp_path / "folded"))
    for begin in range(0, 34, 5):
        for item in [*more, *items][::-1][begin : begin + 5]:
            store.put(item)
        fold(store, at_least=3)
    found = tables(store, [])
    assert all(found[name].equals(expected[name]) for name in NAMES)


def test_of_a_trial_s_records_one_counts(store: Store) -> None:
    """Made with other code of the user's own each; and a failure in nobody's way."""
    old, new = coded("a", 1, "aa", "2026-01-01"), coded("a", 2, "bb", "2026-02-01")
    for item in (new, old, stored("a", outcome="failed", error="E")):
        store.put(item)
    for at_least in (100, 1):
        fold(store, at_least)
        assert trials_table(store, {})["test_top1"].to_pylist() == [2.0]
        assert trials_table(store, {old.key: old.record.spec})["test_top1"].to_pylist() == [1.0]
        assert tables(store, [])["epochs"].num_rows == 1


def test_files_keep_types_and_descriptions(
    made: dict[str, pa.Table], items: list[Stored], store: Store
) -> None:
    for item in items:
        store.put(item)
    written = made["trials"].replace_schema_metadata(None)  # which says what state of the store it shows
    assert written.equals(trials_table(store, {}), check_metadata=True)
    assert b"description" in made["trials"].schema.field("test_top1").metadata
    assert made["epochs"].num_rows == sum(len(item.record.epochs) for item in items)


def test_a_column_of_nothing_but_nulls_has_its_type(items: list[Stored], store: Store) -> None:
    only_failed = tables(store, items[3:])["trials"]
    assert only_failed.num_rows == 1 and only_failed.schema.field("test_top1").type == pa.float64()
