"""VGG with batch norm, no convolution bias, a global average pool and one linear layer."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from mica.models.registration import initialise, model

_POOL = 0
_PLANS = {
    "vgg11": (64, _POOL, 128, _POOL, 256, 256, _POOL, 512, 512, _POOL, 512, 512),
    "vgg16": (64, 64, _POOL, 128, 128, _POOL, 256, 256, 256, _POOL, 512, 512, 512, _POOL, 512, 512, 512),
}


def _vgg(plan: Sequence[int], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, convs, pools = input_shape[0], 0, 0
    for width in plan:
        if width == _POOL:
            pools += 1
            layers[f"pool{pools}"] = nn.MaxPool2d(2)
        else:
            convs += 1
            layers[f"conv{convs}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            layers[f"bn{convs}"] = nn.BatchNorm2d(width)
            layers[f"relu{convs}"] = nn.ReLU()
            channels = width
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, classes)
    return initialise(nn.Sequential(layers))


@model("vgg16", protocol={}, smallest_side=16, megaflops=313.0)
def vgg16(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """VGG-16: 14 prunable layers, 14,715,584 edges for CIFAR-10 (paper section 4.2)."""
    return _vgg(_PLANS["vgg16"], input_shape, classes)


@model("vgg11", protocol={}, smallest_side=16, megaflops=153.0)
def vgg11(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """VGG-11: 9 prunable layers."""
    return _vgg(_PLANS["vgg11"], input_shape, classes)
