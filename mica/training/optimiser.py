"""The protocol's optimiser."""

import torch
from torch import Tensor, nn

from mica.training.protocol import Protocol


def sgd(
    model: nn.Module, protocol: Protocol, *, fused: bool | None = True, rate: Tensor | None = None
) -> torch.optim.SGD:
    """`fused` updates all parameters in one pass, None leaves the way to torch.

    `rate`: the learning rate where the device reads it at each step, float32 (); else it is a number.
    """
    return torch.optim.SGD(
        model.parameters(),
        lr=protocol.lr if rate is None else rate,
        momentum=protocol.momentum,
        nesterov=protocol.nesterov and protocol.momentum > 0,
        weight_decay=protocol.weight_decay,
        fused=fused,
    )
