"""Train one network by a protocol, epoch by epoch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from mica.rng import torch_seeded
from mica.training.evaluation import Metrics, evaluate, metrics_of
from mica.training.forms import Form
from mica.training.images import ImageSet
from mica.training.learner import Learner
from mica.training.protocol import Protocol
from mica.training.state import Epoch


@dataclass(frozen=True)
class Parts:
    """The images of one trial."""

    train: ImageSet
    val: ImageSet
    test: ImageSet


def train(
    form: Form, parts: Parts, protocol: Protocol, seed: int, on_step: Callable[[], None] | None = None
) -> Iterator[Epoch]:
    """Train a form, on the images' device, from the epoch on that its state had come to.

    Yields after every epoch, when `form.leave()` has the state with it, and ends early with one that is not
    `finite`. Data order, augmentation and dropout come from streams of the seed and the epoch alone.
    `on_step` is called after every batch, of evaluation too, and may raise.
    """
    if form.rows and not form.rows[-1].finite:
        return
    learner = form.learner(protocol)
    assess = partial(
        evaluate,
        form.network,
        bf16=protocol.precision == "bf16",
        innermost=form.innermost,
        on_step=on_step,
    )
    for index in range(form.epoch, protocol.epochs):
        begin = time.perf_counter()
        learner.rate = protocol.lr_at(index)
        with torch_seeded(seed, f"dropout/{index}", parts.train.labels.device.type):
            metrics = _one_epoch(form, learner, parts.train, protocol, seed, index, on_step)
        epoch = Epoch(
            number=index + 1,
            lr=protocol.lr_at(index),
            train=metrics,
            val=assess(parts.val),
            test=assess(parts.test),
            seconds=time.perf_counter() - begin,
        )
        form.rows.append(epoch)
        yield epoch
        if not epoch.finite:
            return


def _one_epoch(
    form: Form,
    learner: Learner,
    images: ImageSet,
    protocol: Protocol,
    seed: int,
    epoch: int,
    on_step: Callable[[], None] | None,
) -> Metrics:
    device = images.labels.device
    form.network.train()
    totals = torch.zeros(3, device=device, dtype=torch.float64)
    augment = protocol.augment == "crop-flip"
    batches = images.training_batches(
        protocol.batch_size, seed=seed, epoch=epoch, augment=augment, innermost=form.innermost
    )
    for pixels, labels in batches:
        totals += learner(pixels, labels)
        if on_step:
            on_step()
    return metrics_of(totals, len(images))  # the epoch's only wait for the device
