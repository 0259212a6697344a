"""Run one trial from start to record, in this process: no Ray, no MLflow, no files but what it keeps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from mica.data import Dataset
from mica.errors import DataError
from mica.training.forms import Form
from mica.training.state import Epoch
from mica.trial.attempt import Attempt
from mica.trial.device import checked_device, compute_exactly
from mica.trial.inspection import collapsed, inspect
from mica.trial.keeper import Keeper
from mica.trial.prepare import PreparedTrial, prepare
from mica.trial.provenance import Clock, provenance
from mica.trial.record import EpochRow, Outcome, Record, Results
from mica.trial.spec import TrialSpec, open_data


def run(
    spec: TrialSpec,
    *,
    dataset: Dataset | None = None,
    device: str | None = None,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    keeper: Keeper | None = None,
    on_step: Callable[[], None] | None = None,
) -> Record:
    """Build the trial's mask, train the sparse network, and return its record.

    The same spec gives the same record on the same machine with the same number of threads, seconds
    aside.

    Args:
        spec: the trial.
        dataset: its data, when it is in memory already; else it is loaded.
        device: `cpu`, `cuda`, `cuda:1`, …; a GPU where there is one by default.
        folder: where `spec.keep` puts `masks.npz` and `weights.safetensors`.
        on_epoch: called after every epoch that is trained here.
        keeper: where its checkpoints are; it goes on from the newest sound one, to the same record. What is
            raised and is no `Exception`, by Ctrl-C or by `on_step`, leaves one of the last finished epoch.
        on_step: called after every batch.

    Raises:
        UserError: what the spec names is unknown, missing or impossible.
    """
    clock = Clock()
    device = checked_device(device)
    compute_exactly()
    dataset = dataset or load(spec)
    seconds_data = clock.lap()

    trial = prepare(spec, dataset, device)
    summary, layers = inspect(trial.graph, trial.model, trial.masks)
    seconds_mask = clock.lap()

    outcome: Outcome = "completed"
    attempt: Attempt | None = None
    if collapsed(summary):
        outcome = "collapsed"
    elif spec.protocol.epochs:
        attempt = Attempt(trial, keeper)
        attempt.train(on_epoch, on_step)
        outcome = "completed" if attempt.form.rows[-1].finite else "diverged"
    epochs = attempt.form.rows if attempt else []
    if folder is not None:
        _keep(trial, attempt.form if attempt else None, folder)
    where = provenance(device, clock.started, seconds_data, seconds_mask, clock.lap())
    return Record(
        spec=spec,
        outcome=outcome,
        mask=summary,
        layers=layers,
        results=_results(epochs),
        epochs=tuple(_epoch_row(epoch) for epoch in epochs),
        provenance=attempt.added_to(where) if attempt else where,
    )


def load(spec: TrialSpec) -> Dataset:
    """A trial's data; raises `DataError` where other data is there than the trial was made for."""
    source = open_data(spec.data)
    if source.digest != spec.data_digest:
        raise DataError(
            f"data {spec.data.label!r} is not what this trial was made for: {source.description} has "
            f"the digest {source.digest[:12]}, the trial's data had {spec.data_digest[:12]}"
        )
    return source.load()


def _keep(trial: PreparedTrial, form: Form | None, folder: Path) -> None:
    if trial.spec.keep == "nothing":
        return
    folder.mkdir(parents=True, exist_ok=True)
    trial.masks.save(folder / "masks.npz")
    if trial.spec.keep == "weights":
        # On the CPU, as all of a state: a machine without a GPU can load them.
        state = form.leave() if form else trial.begin()
        # What has two names is written twice: safetensors knows no tensor that is shared.
        tensors = {name: value.clone() for name, value in state.tensors.items()}
        save_file(tensors, folder / "weights.safetensors")


def _results(epochs: list[Epoch]) -> Results:
    if not epochs:
        return Results()
    last, best = epochs[-1], max(epochs, key=lambda epoch: epoch.val.top1)  # the first of equals
    return Results(
        epochs=len(epochs),
        test_top1=last.test.top1,
        test_top5=last.test.top5,
        test_top1_at_best_val=best.test.top1,
        test_top1_max=max(epoch.test.top1 for epoch in epochs),
        val_top1=last.val.top1,
    )


def _epoch_row(epoch: Epoch) -> EpochRow:
    scores = {"train": epoch.train, "val": epoch.val, "test": epoch.test}
    fields: dict[str, float | None] = {}
    for part, found in scores.items():
        fields |= {f"{part}_top1": found.top1, f"{part}_top5": found.top5}
        fields[f"{part}_loss"] = found.loss if np.isfinite(found.loss) else None
    return EpochRow(epoch=epoch.number, lr=epoch.lr, **fields)
