"""One trial, tried: how long its mask takes, and an image of its training, on pixels made up."""

import time
from dataclasses import dataclass

import torch

from mica.bench.case import CLASSES, SHAPE, random_images
from mica.data import DataSource
from mica.graph.tracing import trace
from mica.models import build
from mica.pruning.methods import DENSE
from mica.pruning.sparsify import sparsify
from mica.sweep.plan.cost import evaluated_images, training_images
from mica.training.engine import Parts, train
from mica.training.forms import Form, enter
from mica.training.state import TrainState
from mica.trial.inspection import collapsed, inspect
from mica.trial.prepare import input_shape
from mica.trial.spec import TrialSpec

_STAND_IN = "rpi-igq"
"""Its masks are there at once, where the trial's own would have to score images."""
_FIRST = 8
"""Images of the first, shortest epoch."""


@dataclass(frozen=True)
class Sample:
    """What one trial was measured to take."""

    log10_ratio: float
    preparing: float
    """Seconds until it can train: network, trace, mask, what is said of it, form; scores left out."""
    image: float | None
    """Seconds for each training image of an epoch, its share of the evaluation included; None where no
    training was asked for."""


@dataclass(frozen=True)
class Try:
    """A trial that stands for others."""

    spec: TrialSpec
    source: DataSource | None
    trains: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image as the network gets it; a guess where the data does not say before it is decoded."""
        known = self.source.image_shape if self.source else None
        return input_shape(self.spec.model.name, known or SHAPE)

    @property
    def classes(self) -> int:
        """Of the data; a guess likewise."""
        return (self.source.classes if self.source else None) or CLASSES


@dataclass(frozen=True)
class _Time:
    wall: float
    cpu: float
    """Of all threads of this process."""

    @classmethod
    def now(cls) -> "_Time":
        return cls(time.perf_counter(), time.process_time())

    def since(self, device: str) -> float:
        """Seconds since then, as on an idle machine: other processes may be at work here just now.

        On a CPU as many as passed, or as this process computed if that is less. A GPU is waited for.
        """
        now = _Time.now()
        wall = now.wall - self.wall
        return min(wall, now.cpu - self.cpu) if device == "cpu" else wall


def sample(trial: Try, device: str, seconds: float) -> Sample:
    """Prepare a trial, and train as much of an epoch as so many seconds allow, but at least a few images.

    Of a trial that collapses the dense network trains, at the ratio 1: no other takes longer.
    """
    begin = _Time.now()
    spec = trial.spec
    model = build(spec.model, input_shape=trial.shape, classes=trial.classes, seed=spec.seed)
    graph = trace(model, trial.shape)
    own = not spec.method.rankings
    masks = sparsify(
        model,
        spec.method if own else _STAND_IN,
        spec.ratio,
        spec.seed,
        graph=graph,
        budget=spec.budget if own else "nominal",
        rounding=spec.rounding,
    )
    log10_ratio = spec.log10_ratio
    if collapsed(inspect(graph, model, masks)[0]):
        log10_ratio, masks = 0.0, sparsify(model, DENSE, 1, spec.seed, graph=graph)
    if not trial.trains:
        return Sample(log10_ratio, begin.since(device), None)
    state = TrainState.begin(model, masks)
    form = enter(model, graph, state, device, smaller=spec.compact, by_edges=_compiled(device))
    prepared = begin.since(device)
    return Sample(log10_ratio, prepared, _image(form, trial, device, time.perf_counter() + seconds))


def _compiled(device: str) -> bool:
    """Whether a form edge by edge can be had at once."""
    if device != "cpu":
        return False
    try:
        from mica.edgewise.compiling import compiled
    except ImportError:  # no numba here: there is no such form
        return False
    return compiled(torch.float32)


def _image(form: Form, trial: Try, device: str, until: float) -> float:
    """Seconds for an image, by the longest epoch that there was time for; the first one only warms up."""
    batch, images = trial.spec.protocol.batch_size, training_images(trial.spec, trial.source)
    count, warm = min(_FIRST, images), False
    while True:
        wall, own = _epoch(form, trial, device, count)
        more = min(images, int((until - time.perf_counter()) / 2 / wall * count))
        more -= more % batch if more > batch else 0  # a last, smaller batch would take longer an image
        if warm and more < 2 * count:
            return own / count
        count, warm = max(count, more), True


def _epoch(form: Form, trial: Try, device: str, count: int) -> tuple[float, float]:
    """Seconds of an epoch of so many images, the evaluation's in proportion: as they passed, and our own."""
    spec, source = trial.spec, trial.source
    images = training_images(spec, source)
    counts = [round(part * count / images) for part in (images, *evaluated_images(spec, source))]
    parts = Parts(*(random_images(max(1, each), trial.shape, trial.classes, device) for each in counts))
    # A tiny rate: on noise the losses must stay numbers for as long as it takes.
    protocol = spec.protocol.model_copy(update={"epochs": 1, "lr": 1e-6})
    form.rows.clear()
    begin = _Time.now()
    epoch = next(train(form, parts, protocol, spec.seed))
    return epoch.seconds, begin.since(device)
