"""Made-up images that a small network can learn, for tests and for trying things out."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mica import rng
from mica.data.dataset import Augment, Dataset, DataSource, Images, Labels, data_set, digest_of
from mica.data.normalisation import channel_statistics
from mica.errors import DataError

AUGMENT: Augment = "none"

# In pixel values of 0..255: the noise of one pixel is as large as the pattern, so a class shows in
# the whole image and not in any one pixel.
_AMPLITUDE = 40.0
_NOISE = 40.0
_WAVES = 4
_MOST_PIXELS = 2 * 10**9
"""Of all images together: each takes eight bytes while it is made up."""


@data_set("synthetic")
def synthetic(
    *, classes: int = 10, size: int = 16, channels: int = 3, train: int = 512, test: int = 128, seed: int = 0
) -> DataSource:
    """`train` + `test` images of `size` x `size`, a smooth pattern for each class plus noise.

    Raises `DataError` when an option is too small or too large.
    """
    bounds = {"classes": (classes, 2, 100_000), "size": (size, 1, 10_000), "channels": (channels, 1, 10_000)}
    bounds |= {"train": (train, classes, 10**8), "test": (test, 1, 10**8), "seed": (seed, 0, 2**63 - 1)}
    for option, (value, least, most) in bounds.items():
        if not least <= value <= most:
            bound = f"at least {least}" if value < least else f"at most {most:,}"
            raise DataError(f"synthetic: {option} is {value}; it must be {bound}")
    pixels = (classes + train + test) * channels * size**2
    if pixels > _MOST_PIXELS:
        raise DataError(f"synthetic: the images have {pixels:,} pixels in all; allowed are {_MOST_PIXELS:,}")
    return DataSource(
        name="synthetic",
        digest=digest_of("synthetic", *(f"{option}={value}" for option, (value, *_) in bounds.items())),
        description=f"made-up patterns: {size}x{size} with {channels} channels, {classes} classes, "
        f"{train:,} training and {test:,} test images, seed {seed}",
        augment=AUGMENT,
        load=partial(_load, classes, size, channels, train, test, seed),
        train_images=train,
        image_shape=(channels, size, size),
        classes=classes,
    )


def _load(classes: int, size: int, channels: int, train: int, test: int, seed: int) -> Dataset:
    random = rng.stream(seed, "synthetic")
    patterns = _patterns(random, classes, size, channels)
    train_images, train_labels = _noisy(random, patterns, train)
    test_images, test_labels = _noisy(random, patterns, test)
    mean, std = channel_statistics(train_images)
    return Dataset(
        name="synthetic",
        classes=classes,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=mean,
        std=std,
        augment=AUGMENT,
    )


def _patterns(random: np.random.Generator, classes: int, size: int, channels: int) -> NDArray[np.float64]:
    """[classes, C, H, W]: sums of a few plane waves of at most two periods, of unit power."""
    shape = (classes, channels, _WAVES, 1, 1)
    y_1, y_2 = random.uniform(-2, 2, shape), random.uniform(-2, 2, shape)
    phase = random.uniform(0, 2 * np.pi, shape)
    grid = np.arange(size) / size
    waves = np.cos(2 * np.pi * (y_1 * grid[:, None] + y_2 * grid) + phase)
    return np.asarray(waves.sum(axis=2) * np.sqrt(2 / _WAVES))


def _noisy(random: np.random.Generator, patterns: NDArray[np.float64], count: int) -> tuple[Images, Labels]:
    """`count` images in random order, the classes as even as they can be."""
    labels = random.permutation(np.arange(count, dtype=np.int64) % len(patterns))
    noise = random.normal(0, _NOISE, (count, *patterns.shape[1:]))
    pixels = 127.5 + _AMPLITUDE * patterns[labels] + noise
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), labels
