"""Train one network by a protocol, epoch by epoch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.rng import torch_seeded
from mica.training.evaluation import Metrics, at_least_fp32, evaluate, metrics_of, sums
from mica.training.forms import Form
from mica.training.images import ImageSet
from mica.training.protocol import Precision, Protocol
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
    `on_step` is called after every step.
    """
    if form.rows and not form.rows[-1].finite:
        return
    network, optimiser = form.network, form.optimiser(protocol)
    bf16 = protocol.precision == "bf16"
    for index in range(form.epoch, protocol.epochs):
        begin = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = protocol.lr_at(index)
        with torch_seeded(seed, f"dropout/{index}", parts.train.labels.device.type):
            metrics = _one_epoch(network, optimiser, parts.train, protocol, seed, index, on_step)
        epoch = Epoch(
            number=index + 1,
            lr=protocol.lr_at(index),
            train=metrics,
            val=evaluate(network, parts.val, bf16=bf16),
            test=evaluate(network, parts.test, bf16=bf16),
            seconds=time.perf_counter() - begin,
        )
        form.rows.append(epoch)
        yield epoch
        if not epoch.finite:
            return


def step(
    model: Callable[[Tensor], Tensor],
    optimiser: torch.optim.SGD,
    pixels: Tensor,
    labels: Tensor,
    precision: Precision = "fp32",
) -> Tensor:
    """One step on a batch; returns the logits that it was computed from (N, classes)."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(pixels)
    logits = at_least_fp32(logits)
    optimiser.zero_grad(set_to_none=True)
    F.cross_entropy(logits, labels).backward()
    optimiser.step()
    return logits.detach()


def _one_epoch(
    model: nn.Module,
    optimiser: torch.optim.SGD,
    images: ImageSet,
    protocol: Protocol,
    seed: int,
    epoch: int,
    on_step: Callable[[], None] | None,
) -> Metrics:
    device = images.labels.device
    model.train()
    totals = torch.zeros(3, device=device, dtype=torch.float64)
    augment = protocol.augment == "crop-flip"
    batches = images.training_batches(protocol.batch_size, seed=seed, epoch=epoch, augment=augment)
    for pixels, labels in batches:
        totals += sums(step(model, optimiser, pixels, labels, protocol.precision), labels)
        if on_step:
            on_step()
    return metrics_of(totals, len(images))  # the epoch's only wait for the device
