"""Small images whose every pixel tells where it comes from."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

import mica
from mica.training.engine import Parts
from mica.training.forms import Form, enter
from mica.training.images import ImageSet
from mica.training.state import TrainState


def image_set(
    count: int, channels: int = 2, side: int = 6, classes: int | None = None, seed: int = 0
) -> ImageSet:
    """Random images of pixels 1..255, not normalised: as floats they are the pixels themselves.

    Without `classes` each image is a class of its own, so that a batch's labels say which images it holds.
    """
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 256, (count, channels, side, side), dtype=np.uint8)
    labels = np.arange(count) if classes is None else np.arange(count) % classes
    mean, std = torch.zeros(1, channels, 1, 1), torch.full((1, channels, 1, 1), 1 / 255)
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), mean, std)


def learnable(count: int, classes: int = 4, side: int = 6, seed: int = 0) -> ImageSet:
    """Noise with a bright row of pixels for each class, normalised, in float64."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pixels = random.integers(0, 150, (count, 1, side, side))
    pixels[np.arange(count), 0, labels] += 80
    mean, std = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.35, 0.2))
    return ImageSet(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels), mean, std)


def parts(train: int = 22, **options: int) -> Parts:
    """Training, validation and test images of `learnable`."""
    return Parts(learnable(train, **options), learnable(9, seed=1), learnable(11, seed=2))


def in_float32(images: Parts) -> Parts:
    """The same images, normalised in float32."""

    def single(part: ImageSet) -> ImageSet:
        return ImageSet(part.pixels, part.labels, part.mean.float(), part.std.float())

    return Parts(single(images.train), single(images.val), single(images.test))


def plain_form(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> Form:
    """The whole network for images of `parts`, before its first step; dense without masks."""
    graph = mica.trace(model, (1, 6, 6))
    dense = {name: torch.ones(shape, dtype=torch.bool) for name, shape in graph.shapes.items()}
    state = TrainState.begin(model, mica.Masks(masks or dense))
    return enter(model, graph, state, "cpu", smaller=False)
