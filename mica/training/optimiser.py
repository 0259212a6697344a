"""The protocol's optimiser."""

import torch
from torch import nn

from mica.training.protocol import Protocol


def sgd(model: nn.Module, protocol: Protocol, *, fused: bool | None = True) -> torch.optim.SGD:
    """`fused` updates all parameters in one pass, None leaves the way to torch."""
    return torch.optim.SGD(
        model.parameters(),
        lr=protocol.lr,
        momentum=protocol.momentum,
        nesterov=protocol.nesterov and protocol.momentum > 0,
        weight_decay=protocol.weight_decay,
        fused=fused,
    )
