"""How well a network does on images that it does not train on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.training.images import ImageSet

_BATCH = 500


@dataclass(frozen=True)
class Metrics:
    """Mean cross-entropy in nats, and accuracies in percent."""

    loss: float
    top1: float
    top5: float


def evaluate(
    model: nn.Module,
    images: ImageSet,
    *,
    bf16: bool = False,
    innermost: bool = False,
    on_step: Callable[[], None] | None = None,
) -> Metrics:
    """Evaluate in eval mode, without augmentation; the network ends in the mode it was in.

    `on_step` is called after every batch; for `innermost` see `ImageSet.training_batches`.
    """
    training = model.training
    model.eval()
    totals = torch.zeros(3, device=images.labels.device, dtype=torch.float64)
    with torch.inference_mode(), torch.autocast(images.labels.device.type, torch.bfloat16, enabled=bf16):
        for pixels, labels in images.batches(_BATCH, innermost=innermost):
            totals += sums(at_least_fp32(model(pixels)), labels)
            if on_step:
                on_step()
    model.train(training)
    return metrics_of(totals, len(images))


def metrics_of(totals: Tensor, images: int) -> Metrics:
    """Metrics from summed `sums`; this is where the caller waits for the device."""
    loss, top1, top5 = totals.tolist()
    return Metrics(loss / images, 100 * top1 / images, 100 * top5 / images)


def at_least_fp32(logits: Tensor) -> Tensor:
    """Logits (N, classes) in a precision that losses can be summed in."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Over a batch: summed cross-entropy, hits among the first and among the first five classes (3,)."""
    loss = F.cross_entropy(logits.detach(), labels, reduction="sum")
    best = logits.detach().topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    return torch.stack([loss, hits[:, 0].sum(), hits.sum()])
