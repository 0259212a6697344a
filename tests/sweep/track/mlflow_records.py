"""Small records by hand, what MLflow shows of them, and a process that dies while it shows them."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from mica.trial import Record, TrialSpec
from mica.trial.record import EpochRow, LayerRow, MaskSummary, Provenance, Results

KILLED = """
import os, sys
sys.path[:0] = sys.argv[3:]
from mica.sweep.track.projection import sync
from mlflow_records import made
assert "mlflow" not in sys.modules, "imported before it is used"
import mlflow
real, calls = mlflow.MlflowClient.log_batch, []
def log_batch(*arguments, **named):
    real(*arguments, **named)
    calls.append(1)
    if len(calls) == 2:
        os._exit(9)
mlflow.MlflowClient.log_batch = log_batch
sync(sys.argv[1], sys.argv[2], [(f"k{seed}", made(seed)) for seed in range(3)], complete=True)
"""


def made(seed: int = 0, *, method: str = "mica-igq", epochs: int = 3, **fields: Any) -> Record:
    """A small record; its first test loss was not finite."""
    rows = tuple(
        EpochRow(
            epoch=number, lr=0.1, train_loss=1 / number, train_top1=50.0, train_top5=90.0, val_loss=0.5,
            val_top1=40.0, val_top5=90.0, test_loss=None if number == 1 else 0.5,
            test_top1=40.0 + number % 60, test_top5=90.0,
        )
        for number in range(1, epochs + 1)
    )  # fmt: skip
    results = (
        Results(epochs=epochs, test_top1=40.0 + epochs % 60, test_top1_max=44.5) if epochs else Results()
    )
    defaults: dict[str, Any] = {
        "spec": TrialSpec(
            data="digits", model={"name": "mlp", "title": "MLP"}, method=method, log10_ratio=1.5,
            seed=seed, protocol={"epochs": epochs},
        ),
        "outcome": "completed" if epochs else "collapsed",
        "mask": MaskSummary(
            edges_total=640, edges_budget=20, edges_placed=20, edges_functional=16 if epochs else 0,
            corrected_ratio=40.0 if epochs else None, functional_node_share=0.5, flops_dense=1280,
            flops_masked=40, flops_compact=60, digest="0f",
        ),
        "layers": (
            LayerRow(
                name="fc", shape=(10, 64), edges=640, budget=20, nodes_in=20, nodes_out=10, placed=20,
                functional=16,
            ),
        ),
        "results": results,
        "epochs": rows,
        "provenance": Provenance(
            host="here", device="cpu", threads=1, started="2026-01-02T03:04:05+00:00", seconds_data=1,
            seconds_mask=0.5, seconds_train=30, versions={"mica": "0.1.0"},
        ),
    }  # fmt: skip
    return Record(**(defaults | fields))


def died() -> Record:
    error = "Traceback …\nRuntimeError: out of memory"
    return made(outcome="failed", epochs=0, mask=None, layers=(), error=error)


def runs(uri: str, sweep: str, tag: str = "mica.trial_key") -> list[Any]:
    """All runs of a sweep that have a tag and were not deleted, asked of MLflow itself."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    return [run for run in client.search_runs([experiment.experiment_id]) if tag in run.data.tags]


def by_key(uri: str, sweep: str) -> dict[str, Any]:
    found = runs(uri, sweep)
    keys = [run.data.tags["mica.trial_key"] for run in found]
    assert len(set(keys)) == len(keys), "a trial has two runs"
    return dict(zip(keys, found, strict=True))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


RACING = """
import os, sys
sys.path[:0] = sys.argv[4:]
from mica.sweep.track.projection import sync
from mlflow_records import made
import mlflow, mlflow.store.tracking.sqlalchemy_store
items = [(f"k{seed}", made(seed)) for seed in range(int(sys.argv[3]))]
racers = []
for number in range(4):
    racers.append(os.fork())
    if not racers[-1]:
        shown = sync(sys.argv[1], sys.argv[2], items[number:] + items[:number], complete=True)
        print(shown, flush=True)
        os._exit(shown.failed)
sys.exit(sum(os.waitpid(racer, 0)[1] for racer in racers))
"""
"""Four processes that begin to show the same records at the same moment, each in another order."""


def race(uri: str, sweep: str, records: int) -> None:
    """Let the four run to their ends; each must have found or made a run for every record."""
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", RACING, uri, sweep, str(records), str(here), str(here.parents[2])]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
