"""Train one network by a protocol, epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.rng import torch_seeded
from mica.training.evaluation import Scores, evaluate, scores_of, sums
from mica.training.images import ImageSet
from mica.training.protocol import Precision, Protocol


@dataclass(frozen=True)
class Parts:
    """The images of one trial."""

    train: ImageSet
    val: ImageSet
    test: ImageSet


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch gave. Train scores are means over the epoch while it trained, augmentation on."""

    number: int
    """From 1."""
    lr: float
    train: Scores
    val: Scores
    test: Scores
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether the losses are still numbers; once one is not, training has diverged."""
        return all(math.isfinite(scores.loss) for scores in (self.train, self.val, self.test))


def train(model: nn.Module, parts: Parts, protocol: Protocol, seed: int) -> Iterator[Epoch]:
    """Train in place; yields after every epoch, and ends early with one that is not `finite`.

    The network's masks, if any, must be applied already (`mica.apply`), and it must be on the images'
    device. Data order, augmentation and dropout come from streams of the seed and the epoch alone.
    """
    optimiser = sgd(model, protocol)
    bf16 = protocol.precision == "bf16"
    for index in range(protocol.epochs):
        begin = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = protocol.lr_at(index)
        with torch_seeded(seed, f"dropout/{index}", parts.train.labels.device.type):
            train_scores = _one_epoch(model, optimiser, parts.train, protocol, seed, index)
        epoch = Epoch(
            number=index + 1,
            lr=protocol.lr_at(index),
            train=train_scores,
            val=evaluate(model, parts.val, bf16=bf16),
            test=evaluate(model, parts.test, bf16=bf16),
            seconds=time.perf_counter() - begin,
        )
        yield epoch
        if not epoch.finite:
            return


def sgd(model: nn.Module, protocol: Protocol, *, fused: bool | None = True) -> torch.optim.SGD:
    """The protocol's optimiser; `fused` updates all parameters in one pass, None leaves the way to torch."""
    return torch.optim.SGD(
        model.parameters(),
        lr=protocol.lr,
        momentum=protocol.momentum,
        nesterov=protocol.nesterov and protocol.momentum > 0,
        weight_decay=protocol.weight_decay,
        fused=fused,
    )


def step(
    model: Callable[[Tensor], Tensor],
    optimiser: torch.optim.SGD,
    pixels: Tensor,
    labels: Tensor,
    precision: Precision = "fp32",
) -> Tensor:
    """One step on a batch; returns the scores of the classes that it was computed from (N, classes)."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
        scores = model(pixels)
    scores = scores.float() if scores.dtype == torch.bfloat16 else scores
    optimiser.zero_grad(set_to_none=True)
    F.cross_entropy(scores, labels).backward()
    optimiser.step()
    return scores.detach()


def _one_epoch(
    model: nn.Module, optimiser: torch.optim.SGD, images: ImageSet, protocol: Protocol, seed: int, epoch: int
) -> Scores:
    device = images.labels.device
    model.train()
    totals = torch.zeros(3, device=device, dtype=torch.float64)
    augment = protocol.augment == "crop-flip"
    batches = images.training_batches(protocol.batch_size, seed=seed, epoch=epoch, augment=augment)
    for pixels, labels in batches:
        totals += sums(step(model, optimiser, pixels, labels, protocol.precision), labels)
    return scores_of(totals, len(images))  # the epoch's only wait for the device
