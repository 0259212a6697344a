"""A multilayer perceptron with batch norm, for small images and quick experiments."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from mica.models.registration import initialise, model

Width = Annotated[int, Field(ge=1, le=1_000_000)]
Widths = Annotated[Sequence[Width], Field(max_length=1000)]


@model("mlp", protocol={}, megaflops=1.0)
def mlp(input_shape: tuple[int, ...], classes: int, hidden: Widths = (300, 100)) -> nn.Module:
    """Linear layers of the `hidden` widths, each with batch norm and ReLU, and a linear output layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    features = math.prod(input_shape)
    for index, width in enumerate(hidden, start=1):
        layers[f"fc{index}"] = nn.Linear(features, width, bias=False)
        layers[f"bn{index}"] = nn.BatchNorm1d(width)
        layers[f"relu{index}"] = nn.ReLU()
        features = width
    layers["output"] = nn.Linear(features, classes)
    return initialise(nn.Sequential(layers))
