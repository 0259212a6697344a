"""A depthwise-separable network for small images, after MobileNet (Howard et al. 2017)."""

from torch import Tensor, nn

from mica.models.registration import initialise, model
from mica.models.resnet import WIDE_PROTOCOL

_PLAN = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Of each block its channels, and the stride of its depthwise convolution (Howard et al. 2017, table 1)."""


class MobileNet(nn.Module):
    """A first convolution, blocks of a depthwise and a 1×1 convolution, global average pool, linear layer.

    The first convolution keeps the image's size, where that for ImageNet halves it.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        layers = _normed(nn.Conv2d(input_shape[0], 32, 3, padding=1, bias=False))
        channels = 32
        for width, stride in _PLAN:
            depthwise = nn.Conv2d(
                channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False
            )
            layers += _normed(depthwise) + _normed(nn.Conv2d(channels, width, 1, bias=False))
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.features(x)))
        return scores


def _normed(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]


@model("mobilenet", protocol=WIDE_PROTOCOL, smallest_side=16, megaflops=47.0)
def mobilenet(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """MobileNet for small images: 14 full and 13 depthwise convolutions, one linear layer."""
    return initialise(MobileNet(input_shape, classes))
