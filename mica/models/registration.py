"""Models by name. A model is a function `(input_shape, classes, **options) -> nn.Module`."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mica import rng
from mica.registry import Registry, check_options

Build = Callable[..., nn.Module]
models: Registry[Build] = Registry("model")

SMALLEST_SIDE = dict.fromkeys(("vgg11", "vgg16", "resnet20", "resnet32", "resnet44", "resnet56"), 16)
"""Model → smallest image side that it is given; smaller images are enlarged."""


def build(
    name: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network with the initial weights of `seed`, dense, on the CPU.

    Weights come from the stream "weights" of the seed, so every method that shares a seed starts from
    the same ones.

    Args:
        name: a registered model, or `package.module:function`.
        input_shape: of one image (channels, height, width).
        classes: number of outputs.
        seed: the trial's seed.
        options: the model's own keyword arguments.

    Raises:
        UnknownName: no such model.
        UserError: the model does not take these options.
    """
    builder = models.get(name)
    check_options(f"model {name!r}", builder, options or {}, given=2)
    with rng.torch_seeded(seed, "weights"):
        return builder(input_shape, classes, **(options or {}))


def initialise(model: nn.Module) -> nn.Module:
    """Kaiming-normal weights (fan-in), zero biases; batch norm already starts at scale 1, shift 0."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
