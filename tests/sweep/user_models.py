"""A module of a user's own, with networks that go wrong in different ways."""

from pathlib import Path

SOURCE = '''
import os
from torch import nn


def sound(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


def failing(input_shape, classes):
    """Fails as soon as it trains, with what looks like markup."""
    def fail(model, images):
        if model.training:
            raise RuntimeError("this network [/red] never trains")
    model = sound(input_shape, classes)
    model.register_forward_pre_hook(fail)
    return model


def dying(input_shape, classes):
    """Takes its process along as soon as it trains."""
    def die(model, images):
        if model.training:
            os._exit(1)
    model = sound(input_shape, classes)
    model.register_forward_pre_hook(die)
    return model


class Gate(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


def untraceable(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Gate(), nn.Linear(16, classes))


def unbuildable(input_shape, classes):
    raise TypeError("cannot be built")
'''


def write(folder: Path, name: str = "models_of_mine") -> None:
    (folder / f"{name}.py").write_text(SOURCE)
