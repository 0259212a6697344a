"""A network as a CPU trains it fastest: channels innermost in memory, small images apart."""

import torch
from torch import Tensor, nn

from mica.training.forms.small_images import SmallImageConv2d


def quicken(network: nn.Module) -> None:
    """Make a network train faster on a CPU, in place.

    It computes the same numbers but for rounding, and dropout modules draw the same whatever the order in
    memory. Gradients of gradients are not supported from then on.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # A class of its own and not a module of its own: hooks, names and shared modules stay as they are.
    for module in network.modules():
        if SmallImageConv2d.suits(module):
            module.__class__ = SmallImageConv2d
        elif type(module) is nn.Dropout:
            module.__class__ = _OrderedDropout


class _OrderedDropout(nn.Dropout):
    """Draws in the order (N, C, H, W); torch draws in the order in which a tensor lies in memory."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * super().forward(torch.ones(x.shape, dtype=x.dtype, device=x.device))
