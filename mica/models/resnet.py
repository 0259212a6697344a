"""The residual networks of He et al. (2016) for small images, and the same without their shortcuts."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mica.errors import UserError
from mica.models.registration import initialise, model

_PROTOCOL = {"lr": 0.01, "lr_factor": 0.2, "weight_decay": 5e-4}
"""The paper trains its residual networks otherwise than VGG-16 (section 4.2)."""
WIDE_PROTOCOL = {"lr_factor": 0.2, "weight_decay": 5e-4}
"""How Zagoruyko and Komodakis (2016) train wide residual networks on CIFAR, but for when the rate drops."""
_WIDTHS = 16, 32, 64


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut: the identity, or a 1×1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int, *, skips: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.skips = skips
        self.shortcut: nn.Module = nn.Identity()
        if skips and (stride != 1 or channels != width):
            conv = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + self.shortcut(x) if self.skips else residual)


class ResNet(nn.Module):
    """A first convolution, stages of blocks, a global average pool and one linear layer.

    Every stage but the first begins by halving the image's sides.
    """

    def __init__(
        self,
        blocks: int,
        input_shape: tuple[int, ...],
        classes: int,
        widths: Sequence[int] = _WIDTHS,
        *,
        skips: bool = True,
    ) -> None:
        """
        Args:
            blocks: in each stage.
            widths: channels of each stage.
            skips: whether the blocks have shortcuts.
        """
        super().__init__()
        channels = widths[0]
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        stages: list[nn.Module] = []
        for stage, width in enumerate(widths):
            for index in range(blocks):
                stages.append(Block(channels, width, 2 if stage and not index else 1, skips=skips))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.pool(self.blocks(torch.relu(self.bn(self.conv(x)))))
        scores: Tensor = self.fc(features)
        return scores


def _resnet(depth: int, input_shape: tuple[int, ...], classes: int, *, skips: bool = True) -> nn.Module:
    return initialise(ResNet((depth - 2) // 6, input_shape, classes, skips=skips))


@model("resnet20", protocol=_PROTOCOL, smallest_side=16, megaflops=41.0)
def resnet20(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-20: 22 prunable layers, 270,896 edges for CIFAR-10 (paper section 4.2)."""
    return _resnet(20, input_shape, classes)


@model("resnet32", protocol=_PROTOCOL, smallest_side=16, megaflops=69.0)
def resnet32(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-32."""
    return _resnet(32, input_shape, classes)


@model("resnet44", protocol=_PROTOCOL, smallest_side=16, megaflops=97.0)
def resnet44(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-44."""
    return _resnet(44, input_shape, classes)


@model("resnet56", protocol=_PROTOCOL, smallest_side=16, megaflops=126.0)
def resnet56(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-56."""
    return _resnet(56, input_shape, classes)


@model("plain20", protocol=_PROTOCOL, smallest_side=16, megaflops=40.5)
def plain20(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-20 without shortcuts, He et al.'s plain network: 20 prunable layers."""
    return _resnet(20, input_shape, classes, skips=False)


@model("plain56", protocol=_PROTOCOL, smallest_side=16, megaflops=125.0)
def plain56(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-56 without shortcuts."""
    return _resnet(56, input_shape, classes, skips=False)


@model("resnet", protocol=_PROTOCOL, smallest_side=16, megaflops=41.0)
def resnet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    depth: Annotated[int, Field(ge=8)] = 20,
    width: Annotated[int, Field(ge=1)] = 16,
    skips: bool = True,
) -> nn.Module:
    """ResNet of any depth and width, or without shortcuts; `depth` is 2 more than a multiple of 6.

    Raises:
        UserError: it is not.

    Args:
        width: channels of the first stage; the others have two and four times as many.
    """
    if (depth - 2) % 6:
        raise UserError(f"resnet: its depth is 6n + 2 (8, 14, 20, 32, 44, 56, …), found {depth}")
    widths = (width, 2 * width, 4 * width)
    return initialise(ResNet((depth - 2) // 6, input_shape, classes, widths, skips=skips))


@model("resnet18", protocol=WIDE_PROTOCOL, smallest_side=16, megaflops=556.0)
def resnet18(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-18 in its form for small images: first a 3×3 convolution, no pooling; 64 to 512 channels."""
    return initialise(ResNet(2, input_shape, classes, widths=(64, 128, 256, 512)))
