"""Train networks by a protocol, epoch by epoch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mica.rng import torch_seeded
from mica.training.evaluation import Metrics, evaluate, metrics_of
from mica.training.forms import Form
from mica.training.images import ImageSet
from mica.training.learner import Learner
from mica.training.protocol import Precision, Protocol
from mica.training.state import Epoch
from mica.training.workers import Workers

OnStep = Callable[[], None] | None
"""Called after every batch, of evaluation too; may raise."""


@dataclass(frozen=True)
class Parts:
    """The images of one trial."""

    train: ImageSet
    val: ImageSet
    test: ImageSet


def train(form: Form, parts: Parts, protocol: Protocol, seed: int, on_step: OnStep = None) -> Iterator[Epoch]:
    """Train a form, on the images' device, from the epoch on that its state had come to.

    Yields after every epoch, when `form.leave()` has the state with it, and ends early with one that is not
    `finite`. Data order, augmentation and dropout come from streams of the seed and the epoch alone.
    """
    for (_, epoch), *_ in train_together([form], parts, protocol, seed, on_step):
        yield epoch


def train_together(
    forms: Sequence[Form],
    parts: Parts,
    protocol: Protocol,
    seed: int,
    on_step: OnStep = None,
    until: int | None = None,
) -> Iterator[list[tuple[Form, Epoch]]]:
    """Train forms that have come to the same epoch on the same images, each to the numbers that it has alone.

    Each batch is made once for all of them. Several have to be `sociable`; each then has one thread. A form
    whose loss is not `finite` drops out. An epoch's seconds are the form's part of those of all. `until`: the
    last epoch, where that is not the protocol's.
    """
    together = len(forms) > 1
    with Workers(min(len(forms), torch.get_num_threads())) as workers, ExitStack() as stack:
        stack.enter_context(_rounding(protocol.precision))
        for form in forms if together else ():
            stack.enter_context(form.on_one_thread())
        going = [(form, form.learner(protocol)) for form in forms if not form.rows or form.rows[-1].finite]
        while going and going[0][0].epoch < (protocol.epochs if until is None else until):
            found = _one_epoch(going, parts, protocol, seed, workers, on_step)
            for form, epoch in found:
                form.rows.append(epoch)
            yield found
            going = [pair for pair, (_, epoch) in zip(going, found, strict=True) if epoch.finite]


@contextmanager
def _rounding(precision: Precision) -> Iterator[None]:
    """Let a GPU read numbers with TF32's 10 bits, if that is asked for; masks are made outside, exactly.

    UNPROVEN: never run on a GPU.
    """
    backends: Any = torch.backends
    places = (backends.cudnn.conv, backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    for place in places if precision == "tf32" else ():
        place.fp32_precision = "tf32"
    try:
        yield
    finally:
        for place, its in zip(places, before, strict=True):
            place.fp32_precision = its


def _one_epoch(
    going: Sequence[tuple[Form, Learner]],
    parts: Parts,
    protocol: Protocol,
    seed: int,
    workers: Workers,
    on_step: OnStep,
) -> list[tuple[Form, Epoch]]:
    """An epoch of training and what came of it."""
    begin, index = time.perf_counter(), going[0][0].epoch
    for form, learner in going:
        form.network.train()
        learner.rate = protocol.lr_at(index)
    with torch_seeded(seed, f"dropout/{index}", parts.train.labels.device.type):
        trained = _learn(going, parts.train, protocol, seed, workers, on_step)

    def assessed(form: Form) -> tuple[Metrics, Metrics]:
        bf16 = protocol.precision == "bf16"
        val, test = (
            evaluate(form.network, images, bf16=bf16, innermost=form.innermost, on_step=on_step)
            for images in (parts.val, parts.test)
        )
        return val, test

    evaluated = workers.each(assessed, [form for form, _ in going])
    epoch = partial(
        Epoch, number=index + 1, lr=protocol.lr_at(index), seconds=(time.perf_counter() - begin) / len(going)
    )
    return [
        (form, epoch(train=found, val=val, test=test))
        for (form, _), found, (val, test) in zip(going, trained, evaluated, strict=True)
    ]


def _learn(
    going: Sequence[tuple[Form, Learner]],
    images: ImageSet,
    protocol: Protocol,
    seed: int,
    workers: Workers,
    on_step: OnStep,
) -> list[Metrics]:
    (form, _), *_ = going
    totals = torch.zeros(len(going), 3, device=images.labels.device, dtype=torch.float64)
    batches = images.training_batches(
        protocol.batch_size,
        seed=seed,
        epoch=form.epoch,
        augment=protocol.augment == "crop-flip",
        innermost=form.innermost,
    )
    for pixels, labels in batches:

        def step(pair: tuple[Form, Learner], pixels: Tensor = pixels, labels: Tensor = labels) -> Tensor:
            return pair[1](pixels, labels)

        totals += torch.stack(workers.each(step, going))
        if on_step:
            on_step()
    return [metrics_of(each, len(images)) for each in totals]  # the epoch's only wait for the device
