"""Run one trial from start to record, in this process: no Ray, no MLflow, no files but what it keeps."""

import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import mica
from mica.data import Dataset, Source, Split, datasets, scoring_images, split
from mica.errors import UserError
from mica.graph.layers import LayerGraph
from mica.graph.tracing import trace
from mica.masks import Masks
from mica.models import SMALLEST_SIDE, build
from mica.pruning.methods import parse_method
from mica.pruning.sparsify import sparsify
from mica.registry import check_options
from mica.training.engine import Parts, train
from mica.training.forms import Form, enter
from mica.training.images import ImageSet, image_set
from mica.training.state import Epoch, TrainState
from mica.trial.inspection import collapsed, inspect
from mica.trial.record import EpochRow, Provenance, Record, Results
from mica.trial.score_cache import score_cache
from mica.trial.spec import Named, TrialSpec
from mica.words import Outcome


def run(
    spec: TrialSpec,
    *,
    dataset: Dataset | None = None,
    device: str | None = None,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Record:
    """Build the trial's mask, train the sparse network, and return its record.

    The same spec gives the same record on the same machine with the same number of threads, seconds
    aside.

    Args:
        spec: the trial.
        dataset: its data, when it is in memory already; else it is loaded.
        device: `cpu`, `cuda`, `cuda:1`, …; a GPU where there is one by default.
        folder: where `spec.keep` puts `masks.npz` and `weights.pt`.
        on_epoch: called after every epoch.

    Raises:
        UserError: what the spec names is unknown, missing or impossible.
    """
    clock = _Clock()
    device = checked_device(device)
    compute_exactly()
    dataset = dataset or open_data(spec.data).load()
    seconds_data = clock.lap()

    trial = prepare(spec, dataset, device)
    summary, layers = inspect(trial.graph, trial.model, trial.masks)
    seconds_mask = clock.lap()

    outcome: Outcome = "completed"
    form: Form | None = None
    if collapsed(summary):
        outcome = "collapsed"
    elif spec.protocol.epochs:
        form = enter(trial.model, trial.graph, trial.begin(), device, smaller=spec.compact)
        for epoch in train(form, trial.parts(), spec.protocol, spec.seed):
            if on_epoch:
                on_epoch(epoch)
        outcome = "completed" if form.rows[-1].finite else "diverged"
    epochs = form.rows if form else []
    if folder is not None:
        _keep(trial, form, folder)
    return Record(
        spec=spec,
        outcome=outcome,
        mask=summary,
        layers=layers,
        results=_results(epochs),
        epochs=tuple(_epoch_row(epoch) for epoch in epochs),
        provenance=provenance(device, clock.started, seconds_data, seconds_mask, clock.lap()),
    )


def compute_exactly() -> None:
    """The same numbers in every run on a GPU, and fp32 that is fp32."""
    # Without these, cuDNN may choose another algorithm, and other rounding, from run to run.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Torch would let convolutions round their inputs to 10 bits. It has this setting twice: the new one
    # rules, and with the old one left as it is `torch.export` fails.
    torch.backends.cudnn.fp32_precision = "ieee"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def checked_device(name: str | None) -> str:
    """The device of this name, else a GPU where there is one; raises `UserError` if torch cannot use it."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()  # waits for the device: it may have failed at something before
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device {name!r} cannot be used; such as cpu, cuda or cuda:1 can ({reason})"
        ) from error
    return name


def open_data(data: Named) -> Source:
    """The data set that a spec names, found but not decoded; raises `UserError`."""
    find = datasets.get(data.name)
    check_options(f"data set {data.name!r}", find, data.options)
    return find(**data.options)


@dataclass(frozen=True)
class PreparedTrial:
    """A trial that is ready to train: its network, its masks and its images."""

    spec: TrialSpec
    dataset: Dataset
    device: str
    model: nn.Module
    graph: LayerGraph
    masks: Masks

    def parts(self) -> Parts:
        """Training, validation and test images on the device."""
        return _parts(self.spec, self.dataset, self.device)

    def begin(self) -> TrainState:
        """The state before the first step."""
        return TrainState.begin(self.model, self.masks)


def check_fits(spec: TrialSpec, dataset: Dataset) -> list[str]:
    """What is wrong with a trial's network or split, found without making a mask."""
    faults = []
    try:
        _network(spec, dataset)
    except Exception as error:  # the constructor of a user's own network may raise anything
        found = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        faults.append(f"model {spec.model.label!r} on {spec.data.label!r}: {found}")
    try:
        _split(spec, dataset)
    except UserError as error:
        faults.append(f"protocol: {error}")
    return faults


def prepare(spec: TrialSpec, dataset: Dataset, device: str) -> PreparedTrial:
    """The network with its initial weights, dense, and the trial's masks beside it."""
    model, graph = _network(spec, dataset)
    model.to(device)
    method = parse_method(spec.method)
    masks = sparsify(
        model,
        spec.method,
        spec.ratio,
        spec.seed,
        graph=graph,
        data=_scoring_data(spec, dataset, device) if method.needs_images else None,
        budget=spec.budget,
        rounding=spec.rounding,
        node_counts=spec.node_counts,
        batch_norm=spec.protocol.scoring_batch_norm,
        cache=score_cache(),
    )
    model.cpu()  # a form brings what it trains to the device
    return PreparedTrial(spec, dataset, device, model, graph, masks)


def enlargement(model: str, image_shape: tuple[int, int, int]) -> int:
    """By what whole factor images are enlarged for a network that needs more pixels."""
    return max(1, -(-SMALLEST_SIDE.get(model, 1) // min(image_shape[1:])))


def _network(spec: TrialSpec, dataset: Dataset) -> tuple[nn.Module, LayerGraph]:
    factor = enlargement(spec.model.name, dataset.image_shape)
    channels, height, width = dataset.image_shape
    shape = (channels, height * factor, width * factor)
    options = spec.model.options
    model = build(
        spec.model.name, input_shape=shape, classes=dataset.classes, seed=spec.seed, options=options
    )
    return model, trace(model, shape)


def _split(spec: TrialSpec, dataset: Dataset) -> Split:
    protocol = spec.protocol
    return split(
        dataset,
        spec.seed,
        train_size=protocol.train_size,
        val_size=protocol.val_size,
        test_size=protocol.test_size,
    )


def _parts(spec: TrialSpec, dataset: Dataset, device: str) -> Parts:
    factor, indices = enlargement(spec.model.name, dataset.image_shape), _split(spec, dataset)

    def on_device(part: str, chosen: np.ndarray) -> ImageSet:
        return image_set(dataset, part, chosen, enlarge=factor, device=device)

    return Parts(
        on_device("train", indices.train), on_device("train", indices.val), on_device("test", indices.test)
    )


def _scoring_data(spec: TrialSpec, dataset: Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Training images that the trial trains on, not augmented, and their labels."""
    factor = enlargement(spec.model.name, dataset.image_shape)
    chosen = scoring_images(_split(spec, dataset), dataset.classes, spec.seed)
    images = image_set(dataset, "train", chosen, enlarge=factor, device=device)
    return images.normalised(slice(None)), images.labels


def _keep(trial: PreparedTrial, form: Form | None, folder: Path) -> None:
    if trial.spec.keep == "nothing":
        return
    folder.mkdir(parents=True, exist_ok=True)
    trial.masks.save(folder / "masks.npz")
    if trial.spec.keep == "weights":
        # On the CPU, as all of a state: a machine without a GPU can load them.
        state = form.leave() if form else trial.begin()
        torch.save(state.tensors, folder / "weights.pt")


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


def provenance(
    device: str, started: datetime, seconds_data: float = 0, seconds_mask: float = 0, seconds_train: float = 0
) -> Provenance:
    """This process and machine, and the seconds of a trial's phases."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return Provenance(
        host=socket.gethostname(),
        device=name,
        threads=torch.get_num_threads(),
        started=started.isoformat(timespec="seconds"),
        seconds_data=seconds_data,
        seconds_mask=seconds_mask,
        seconds_train=seconds_train,
        versions={
            "mica": mica.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            **({"numba": version("numba")} if find_spec("numba") else {}),
        },
    )


class _Clock:
    """Seconds of one phase after the other."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._last = time.perf_counter()

    def lap(self) -> float:
        begin, self._last = self._last, time.perf_counter()
        return self._last - begin
