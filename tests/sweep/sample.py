"""Sweep files and records for tests; the trials are those of `tests.trial.sample`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.trial import Record
from mica.trial.provenance import provenance
from mica.trial.record import EpochRow, LayerRow, MaskSummary, Results
from tests.trial.sample import tiny

SWEEP = """\
name: tiny
data: {name: synthetic, size: 8, channels: 1, classes: 4, train: 60, test: 20}
models: {name: mlp, hidden: [16, 16]}
seeds: [0, 1]
ratios: [4, 1000]
methods: [rpi-erk, mica-erk]
protocol: {epochs: 2, batch_size: 16}
mlflow: false
"""
"""Two seeds × two ratios × two methods; at the ratio 1000 everything collapses."""


def write(folder: Path, text: str = SWEEP, **lines: str) -> Path:
    """A file `sweep.yaml`; `lines` replace the lines of those keys, or add them."""
    rows = text.splitlines()
    for key, value in lines.items():
        rows = [row for row in rows if not row.startswith(f"{key}:")]
        rows.append(f"{key}: {value}")
    path = folder / "sweep.yaml"
    path.write_text("\n".join(rows) + "\n")
    return path


def record(top1: float = 50.0, **changes: Any) -> Record:
    """A completed trial's record, made up."""
    mask = MaskSummary(
        edges_total=100, edges_budget=25, edges_placed=25, edges_functional=20, corrected_ratio=5.0,
        functional_node_share=0.9, flops_dense=200, flops_masked=50, flops_compact=60, digest="d",
        log10_nominal=0.602, outputs_reached=(0, 2),
    )  # fmt: skip
    layer = LayerRow(
        name="1", shape=(10, 10), edges=100, budget=25, nodes_in=5, nodes_out=6, placed=25, functional=20
    )
    epoch = EpochRow(
        epoch=1, lr=0.1, train_loss=1.5, train_top1=40.0, train_top5=90.0,
        val_loss=1.4, val_top1=45.0, val_top5=91.0, test_loss=None, test_top1=top1, test_top5=92.0,
    )  # fmt: skip
    results = Results(
        epochs=1,
        test_top1=top1,
        test_top5=92.0,
        test_top1_at_best_val=top1,
        test_top1_max=top1,
        val_top1=45.0,
    )
    fields = {"spec": tiny(), "outcome": "completed", "mask": mask, "layers": (layer,), "results": results}
    where = provenance("cpu", datetime(2026, 1, 2, tzinfo=UTC), 0.1, 0.2, 0.3)
    return Record(**{**fields, "epochs": (epoch,), "provenance": where, **changes})


def stored(key: str = "a", top1: float = 50.0, sweep: str = "tiny", **changes: Any) -> Stored:
    """A record under a key of 64 hexadecimal digits that begins so."""
    return Stored(key.ljust(64, "0"), sweep, record(top1, **changes))


def coded(key: str, top1: float, digest: str, started: str = "2026-01-02") -> Stored:
    """A record made with code of the user's own, whose network has this digest."""
    spec = tiny()
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"code": digest})})
    made = stored(key, top1, spec=spec)
    where = made.record.provenance.model_copy(update={"started": started})
    return Stored(made.key, made.sweep, made.record.model_copy(update={"provenance": where}))


def records_of(storage: str | Path) -> dict[str, Stored]:
    """Key → the newest record of each trial in a store, or its last attempt, which failed."""
    store = Store(str(storage))
    keys = {*store.names().values(), *store.failures()}
    return {key: found for key in keys if (found := store.latest(key)) is not None}
