"""A network as a CPU trains it fastest: channels innermost in memory, small images apart."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mica.training.small_images import SmallImageConv2d


def quicken(network: nn.Module) -> Callable[[], None]:
    """Make a network train faster on a CPU, in place; returns what undoes it, but for the memory's order.

    It computes the same numbers but for rounding, and dropout modules draw the same whatever the order in
    memory. Until it is undone, gradients of gradients are not supported.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    convolutions = [module for module in network.modules() if SmallImageConv2d.suits(module)]
    dropouts = [module for module in network.modules() if type(module) is nn.Dropout]

    def become(convolution: type[nn.Conv2d], dropout: type[nn.Dropout]) -> None:
        # A class of its own and not a module of its own: hooks, names and shared modules stay as they are.
        for module in convolutions:
            module.__class__ = convolution
        for module in dropouts:
            module.__class__ = dropout

    become(SmallImageConv2d, _OrderedDropout)
    return lambda: become(nn.Conv2d, nn.Dropout)


class _OrderedDropout(nn.Dropout):
    """Draws in the order (N, C, H, W); torch draws in the order in which a tensor lies in memory."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * super().forward(torch.ones(x.shape, dtype=x.dtype, device=x.device))
