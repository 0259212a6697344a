"""What a network learns by: one batch after another."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mica.training.evaluation import at_least_fp32, sums
from mica.training.protocol import Precision


class Learner(Protocol):
    """Takes one step of the protocol's optimiser for each batch."""

    rate: float
    """Learning rate of the steps to come."""

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step; returns the batch's `sums`, of the network as it was before."""


class EagerLearner:
    """By torch's autograd, of any network."""

    def __init__(
        self, model: Callable[[Tensor], Tensor], optimiser: torch.optim.SGD, precision: Precision = "fp32"
    ) -> None:
        self._model, self._optimiser, self._precision = model, optimiser, precision

    @property
    def rate(self) -> float:
        """Of the first group, which has all others' too."""
        return float(self._optimiser.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            logits = self._model(pixels)
        logits = at_least_fp32(logits)
        self._optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits, labels).backward()
        self._optimiser.step()
        return sums(logits, labels)
