"""Wide residual networks (Zagoruyko and Komodakis 2016): few layers, many channels, small images."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mica.errors import UserError
from mica.models.registration import initialise, model
from mica.models.resnet import WIDE_PROTOCOL


class Block(nn.Module):
    """Batch norm and ReLU before each of two 3×3 convolutions, beside a shortcut.

    Where the number of channels or the image's size changes, that is a 1×1 convolution of what the first
    ReLU gives; else it is the identity.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.changes = stride != 1 or channels != width
        if self.changes:
            self.shortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = torch.relu(self.bn1(x))
        residual: Tensor = self.conv2(torch.relu(self.bn2(self.conv1(normed))))
        return residual + (self.shortcut(normed) if self.changes else x)


class WideResNet(nn.Module):
    """A first convolution, three stages of blocks, batch norm, ReLU, global average pool, linear layer."""

    def __init__(self, blocks: int, width: int, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        channels = 16
        for stage in range(3):
            for index in range(blocks):
                stages.append(Block(channels, 16 * width * 2**stage, 2 if stage and not index else 1))
                channels = 16 * width * 2**stage
        self.blocks = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(torch.relu(self.bn(self.blocks(self.conv(x))))))
        return scores


@model("wideresnet", protocol=WIDE_PROTOCOL, smallest_side=16, megaflops=5_250.0)
def wideresnet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    depth: Annotated[int, Field(ge=10)] = 28,
    width: Annotated[int, Field(ge=1)] = 10,
) -> nn.Module:
    """WRN-depth-width, without dropout; `depth` is 4 more than a multiple of 6.

    Raises:
        UserError: it is not.
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest:
        raise UserError(f"wideresnet: its depth is 6n + 4 (10, 16, 22, 28, 40, …), found {depth}")
    return initialise(WideResNet(blocks, width, input_shape, classes))
