"""Run trials from start to record, in this process: no Ray, no MLflow, no files but what they keep."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from mica.data import Dataset
from mica.errors import DataError, UserError
from mica.pruning.target import close
from mica.training.engine import OnStep
from mica.training.forms import Form
from mica.training.state import Epoch
from mica.trial.attempt import Attempt, OnEpoch, train_all
from mica.trial.device import checked_device, compute_exactly
from mica.trial.inspection import collapsed, inspect
from mica.trial.keeper import Keeper
from mica.trial.prepare import PreparedTrial, prepare
from mica.trial.provenance import Clock, provenance
from mica.trial.record import EpochRow, MaskSummary, Outcome, Record, Results
from mica.trial.spec import TrialSpec, open_data


def run(
    spec: TrialSpec,
    *,
    dataset: Dataset | None = None,
    device: str | None = None,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    keeper: Keeper | None = None,
    on_step: OnStep = None,
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
    course = _Course(spec, dataset, device, keeper)
    if course.attempt:
        course.attempt.train(on_epoch and (lambda _, epoch: on_epoch(epoch)), on_step)
    return course.record(folder)


def run_together(
    specs: Sequence[TrialSpec],
    *,
    dataset: Dataset | None = None,
    device: str | None = None,
    folders: Mapping[str, Path] | None = None,
    on_epoch: OnEpoch = None,
    keepers: Mapping[str, Keeper] | None = None,
    on_step: OnStep = None,
) -> list[Record]:
    """Run trials of the same data, seed and protocol; each record is that of `run`, seconds aside.

    Networks that are sparse enough learn at a time: each batch of images is made once for all of them, and as
    many are at work as torch has threads. The others run one after another.

    Args:
        specs: the trials.
        folders, keepers: by trial's key; for these and the rest see `run`.

    Raises:
        ValueError: the trials differ in data, seed or protocol.
        UserError: what a spec names is unknown, missing or impossible.
    """
    if len({(spec.data_digest, spec.seed, spec.protocol) for spec in specs}) > 1:
        raise ValueError("trials that run together need the same data, seed and protocol")
    courses = [_Course(spec, dataset, device, (keepers or {}).get(spec.key)) for spec in specs]
    attempts = [course.attempt for course in courses if course.attempt]
    alike: dict[object, list[Attempt]] = {}
    for attempt in attempts:
        kind = (attempt.trial.spec.model, attempt.form.epoch) if attempt.sociable else id(attempt)
        alike.setdefault(kind, []).append(attempt)
    for group in alike.values():
        train_all(group, on_epoch, on_step)
    return [course.record((folders or {}).get(course.spec.key)) for course in courses]


class _Course:
    """A trial whose mask is made, and that is to be trained unless it has collapsed."""

    def __init__(
        self, spec: TrialSpec, dataset: Dataset | None, device: str | None, keeper: Keeper | None
    ) -> None:
        clock = Clock()
        self.spec, self._started, self._device = spec, clock.started, checked_device(device)
        if spec.protocol.precision == "tf32" and self._device == "cpu":
            raise UserError("precision tf32 is a GPU's; on a CPU there are fp32 and bf16")
        compute_exactly()
        dataset = dataset or load(spec)
        self._seconds_data = clock.lap()
        self._trial = prepare(spec, dataset, self._device)
        self._summary, self._layers = inspect(self._trial.graph, self._trial.model, self._trial.masks)
        self._seconds_mask = clock.lap()
        self.attempt: Attempt | None = None
        if spec.protocol.epochs and not collapsed(self._summary):
            self.attempt = Attempt(self._trial, keeper)

    def record(self, folder: Path | None) -> Record:
        """What it has come to; `spec.keep` goes into the folder."""
        form = self.attempt.form if self.attempt else None
        epochs = form.rows if form else []
        outcome: Outcome = "collapsed" if collapsed(self._summary) else "completed"
        if epochs and not epochs[-1].finite:
            outcome = "diverged"
        if folder is not None:
            _keep(self._trial, form, folder)
        where = provenance(self._device, self._started, self._seconds_data, self._seconds_mask)
        if remark := self._off_target():
            where = where.model_copy(update={"remarks": (*where.remarks, remark)})
        return Record(
            spec=self.spec,
            outcome=outcome,
            mask=self._summary,
            moved=self._moved(form) if form and self.spec.protocol.moving else None,
            layers=self._layers,
            results=_results(epochs),
            epochs=tuple(_epoch_row(epoch) for epoch in epochs),
            provenance=self.attempt.added_to(where) if self.attempt else where,
        )

    def _off_target(self) -> str | None:
        """What is to be said of a corrected ratio that no mask comes to."""
        wanted, found = self._summary.edges_total / self.spec.ratio, self._summary.edges_functional
        if self.spec.target == "nominal" or close(found, wanted):
            return None
        return f"no mask has {wanted:,.0f} functional edges, to a hundredth; the nearest found has {found:,}"

    def _moved(self, form: Form) -> MaskSummary:
        return inspect(self._trial.graph, self._trial.model, form.leave().masks)[0]


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
    # On the CPU, as all of a state: a machine without a GPU can load them.
    state = form.leave() if form else trial.begin()
    if trial.spec.protocol.moving:
        state.masks.save(folder / "masks-last.npz")
    if trial.spec.keep == "weights":
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
