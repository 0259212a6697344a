"""A multilayer perceptron with batch norm, for small images and quick experiments."""

import math
from collections.abc import Sequence

from torch import nn

from mica.models.registry import initialise, models


@models.register("mlp")
def mlp(input_shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (300, 100)) -> nn.Module:
    """Linear layers of the `hidden` widths, each with batch norm and ReLU, and a linear output layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(input_shape)
    for width in hidden:
        layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        features = width
    return initialise(nn.Sequential(*layers, nn.Linear(features, classes)))
