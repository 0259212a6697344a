"""Records as tables: a row a trial, a row a layer, a row an epoch; every column typed and described."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mica.named import Named
from mica.pruning.methods import Method
from mica.sweep.drive.worker import failed
from mica.sweep.store.folder import Folder
from mica.sweep.store.stored import Stored
from mica.sweep.store.tables import epochs_table, layers_table, trials_table, write_tables
from mica.trial import run
from tests.sweep.sample import stored
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


@pytest.fixture(scope="module")
def items() -> list[Stored]:
    """One real trial of each outcome."""
    completed = run(tiny())
    collapsed = run(tiny(method="rpi-erk", log10_ratio=3.0))
    diverged = run(tiny(method="dense", log10_ratio=0.0, protocol={"lr": 1e30}))
    broken = failed(tiny(method="rbpi-snip"), "Traceback …\nValueError: no", "cpu")
    records = (completed, collapsed, diverged, broken)
    return [Stored(str(n) * 64, "tiny", record) for n, record in enumerate(records)]


@pytest.fixture(scope="module")
def trials(items: list[Stored]) -> pd.DataFrame:
    return trials_table(items).to_pandas().set_index("outcome")


def tables(items: list[Stored]) -> dict[str, pa.Table]:
    return {"trials": trials_table(items), "layers": layers_table(items), "epochs": epochs_table(items)}


def test_the_columns_of_the_trials_and_their_types(items: list[Stored]) -> None:
    schema = trials_table(items).schema
    assert {name: str(schema.field(name).type) for name in COLUMNS} == COLUMNS
    assert trials_table([]).schema == schema


def test_every_column_of_every_table_says_what_it_is(items: list[Stored]) -> None:
    for name, table in tables(items).items():
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
    for name, value in (record.results.model_dump() | record.mask.model_dump(exclude={"digest"})).items():
        assert row[name] == value
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


def row_of(method: str | Method) -> dict[str, Any]:
    (row,) = trials_table([stored(spec=tiny(method=method))]).to_pylist()
    return row


def test_a_method_s_options_stand_in_its_name_and_beside_it() -> None:
    row = row_of("mica(node_counts=max)-synflow(iterations=30)")
    assert row["method"] == "mica(node_counts=max)-synflow(iterations=30)"
    assert (row["pruner"], row["distribution"]) == ("mica", "synflow")
    assert (row["pruner_options"], row["distribution_options"]) == ("node_counts=max", "iterations=30")
    assert row_of("mica(node_counts=random)-igq")["pruner_options"] == ""


def test_titles_stand_beside_the_names() -> None:
    titled = Named(name="mica", options={"node_counts": "max"}, title="MiCA max")
    row = row_of(Method(pruner=titled, distribution=Named(name="igq")))
    assert (row["method"], row["pruner_title"]) == ("mica(node_counts=max)-igq", "MiCA max")
    assert row["distribution_title"] is None


def test_layers_and_epochs_belong_to_their_trials(items: list[Stored]) -> None:
    found = {name: table.to_pandas() for name, table in tables(items).items()}
    for name in ("layers", "epochs"):
        rows = [row.model_dump() for item in items for row in getattr(item.record, name)]
        assert len(found[name]) == len(rows) > 0
        first = found[name].set_index("trial_key").loc["0" * 64].iloc[0]
        assert all(first[key] == value for key, value in rows[0].items() if key != "shape")
    layers, trials = found["layers"], found["trials"].set_index("trial_key")
    for column in ("edges_total", "edges_placed", "edges_functional"):
        layer_column = column.removeprefix("edges_").replace("total", "edges")
        sums = layers.groupby("trial_key")[layer_column].sum()
        assert (sums == trials.loc[sums.index, column]).all()
    assert layers["shape"].head(3).tolist() == ["16,64", "16,16", "4,16"]


def test_a_loss_that_is_not_finite_is_null(items: list[Stored]) -> None:
    epochs = epochs_table(items).to_pandas()
    assert epochs[epochs["trial_key"] == "2" * 64]["val_loss"].isna().any()
    assert epochs[epochs["trial_key"] == "0" * 64].notna().all(axis=None)


def test_rows_do_not_depend_on_the_order_in_which_trials_ended(items: list[Stored]) -> None:
    forward, backward = tables(items), tables(items[::-1])
    assert all(forward[name].equals(backward[name]) for name in forward)


def test_files_keep_types_and_descriptions(items: list[Stored], tmp_path: Path) -> None:
    written = write_tables(items, Folder(str(tmp_path)))
    assert list(written) == ["tables/trials.parquet", "tables/layers.parquet", "tables/epochs.parquet"]
    table = pq.read_table(tmp_path / "tables" / "trials.parquet")
    assert table.equals(trials_table(items))
    assert b"description" in table.schema.field("test_top1").metadata
    assert pd.read_parquet(tmp_path / "tables" / "epochs.parquet").shape[0] == sum(
        len(item.record.epochs) for item in items
    )


def test_a_column_of_nothing_but_nulls_has_its_type(items: list[Stored]) -> None:
    only_failed = trials_table(items[3:])
    assert only_failed.schema.field("test_top1").type == pa.float64()
