"""A convolutional network of the suite's own."""

from torch import nn


def small(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two convolutions with batch norm, dropout and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, classes),
    )  # fmt: skip
