"""Models by name: functions that make an `nn.Module`; what one names beside its inputs is an option."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mica import rng
from mica.errors import UserError
from mica.named import Named
from mica.options import Options, call, options_of
from mica.registry import Registry, check_signature, place_of
from mica.wording import quoted

Build = Callable[..., nn.Module]
INPUTS = ("input_shape", "classes", "num_classes")
"""What a model's function is given of, as far as its signature names it: the shape of one image (channels,
height, width), and the number of outputs under either name (the second is torchvision's)."""


@dataclass(frozen=True)
class Model:
    """A network's function, and how the paper that it is from, or its author, would train it."""

    build: Build
    protocol: Mapping[str, Any] | None = field(default=None)
    """What its training protocol has otherwise than `mica.training.protocol.Protocol`'s defaults; None where
    nobody has said."""
    smallest_side: int = 1
    """Of an image, in pixels; smaller images are enlarged by a whole factor."""
    megaflops: float = 50.0
    """Millions of multiplications of a 32×32 image's forward pass, dense: the longest trials run first."""

    def __call__(self, *args: Any, **options: Any) -> nn.Module:
        """Build the network."""
        return self.build(*args, **options)

    @property
    def options(self) -> Options:
        """What may be set."""
        return options_of(self.build, INPUTS)


def _a_model(found: object) -> Model:
    if isinstance(found, Model):
        return found
    if not callable(found):
        raise TypeError(f"is no function: found {quoted(found)}")
    check_signature(found)
    return Model(found)


models: Registry[Model] = Registry(
    "model", accept=_a_model, options=lambda model: model.options, inputs=", ".join(INPUTS)
)


def model(
    name: str | None = None,
    *,
    protocol: Mapping[str, Any] | None = None,
    smallest_side: int = 1,
    megaflops: float = 50.0,
) -> Callable[[Build], Model]:
    """Decorator that makes a function a model; `name`: see `Registry.file`."""
    return lambda build: models.file(name, build, Model(build, protocol, smallest_side, megaflops))


def build(
    chosen: str | Named, *, input_shape: tuple[int, ...], classes: int, seed: int, stream: str = "weights"
) -> nn.Module:
    """A network with the initial weights of `seed`, dense, on the CPU.

    Weights come from a stream of the seed alone, so every method that shares a seed starts from the same.

    Args:
        chosen: a model with its options; a registered name, or `package.module:function`.
        input_shape: of one image (channels, height, width).
        classes: number of outputs.
        seed: the trial's seed.
        stream: which of the seed's streams.

    Raises:
        UnknownName: no such model.
        UserError: the model does not take these options, or what it returns is no network.
    """
    named = models.choose(chosen)
    entry = models.get(named.name)
    given: dict[str, Any] = {"input_shape": input_shape, "classes": classes, "num_classes": classes}
    options = named.all_options
    names = inspect.signature(entry.build).parameters
    if entry.options.others and not {"classes", "num_classes"} & names.keys():
        options = {"num_classes": classes, **options}  # torchvision's take it among their **kwargs
    with rng.torch_seeded(seed, stream):
        network = call(entry.build, given, options)
    if not isinstance(network, nn.Module):
        who = f"model {named.text!r}{place_of(entry.build)}"
        raise UserError(f"{who} must return an nn.Module, found {quoted(network):.60}")
    return network


def initialise(network: nn.Module) -> nn.Module:
    """Kaiming-normal weights (fan-in), zero biases; batch norm already starts at scale 1, shift 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
