"""Which images train, which validate, which test, and which score."""

from dataclasses import dataclass

import numpy as np

from mica import rng
from mica.data.dataset import Dataset, Indices
from mica.errors import UserError

SCORING_IMAGES_PER_CLASS = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of images, int64, without repeats; `train` and `val` share none."""

    train: Indices
    """Into the data set's training images."""
    val: Indices
    """Into the data set's training images."""
    test: Indices
    """Into the data set's test images."""


def split(
    dataset: Dataset,
    seed: int,
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
) -> Split:
    """Split the training images at random by `seed`, and cut each part to its size.

    Without sizes, a fifth validates (10,000 of CIFAR's 50,000; paper section 4.2), the rest train,
    and all test images test. The validation images do not depend on `train_size`; the test images
    do not depend on the seed. A smaller training or test part is the beginning of a larger one.

    Raises `UserError` when a size is not positive or larger than what there is.
    """
    images = len(dataset.train_images)
    val_size = max(1, images // 5) if val_size is None else val_size
    _check_size(dataset, "val_size", val_size, images - 1, f"of {images:,} training images")
    rest = images - val_size
    train_size = rest if train_size is None else train_size
    _check_size(
        dataset, "train_size", train_size, rest, f"of {images:,} training images {val_size:,} validate"
    )
    order = rng.stream(seed, "split").permutation(images)
    return Split(
        train=order[val_size : val_size + train_size], val=order[:val_size], test=_test(dataset, test_size)
    )


def scoring_images(split: Split, classes: int, seed: int) -> Indices:
    """The training images that pruners score by: 10 for each class on average, drawn at random.

    Int64 indices into the data set's training images, all of `split.train` where it has no more.
    DataSource: paper section 4.2.
    """
    order = rng.stream(seed, "scoring").permutation(split.train)
    return order[: SCORING_IMAGES_PER_CLASS * classes]


def _test(dataset: Dataset, size: int | None) -> Indices:
    count = len(dataset.test_images)
    if size is None:
        return np.arange(count, dtype=np.int64)
    _check_size(dataset, "test_size", size, count, f"there are {count:,} test images")
    # One fixed order: trials of all seeds are tested on the same images.
    return rng.stream(0, "test subset").permutation(count)[:size]


def _check_size(dataset: Dataset, name: str, size: int, most: int, why: str) -> None:
    if not 1 <= size <= most:
        raise UserError(f"{dataset.name}: {name} is {size:,}; allowed are 1 to {most:,}: {why}")
