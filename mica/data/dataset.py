"""What a data set is once loaded (`Dataset`), and before that (`DataSource`)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mica.data.normalisation import channel_statistics
from mica.errors import DataError
from mica.registry import function_registry

Augment = Literal["crop-flip", "none"]
Images = NDArray[np.uint8]
"""Pixels, uint8 [N, C, H, W]."""
Labels = NDArray[np.int64]
"""Classes from 0, int64 [N]."""
Indices = NDArray[np.int64]
"""Positions of images in an array of them, int64 [n]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A data set for image classification, decoded and in memory.

    `mean` and `std` are per channel, for pixels scaled to 0..1. Raises `DataError` when the parts do
    not fit together.
    """

    name: str
    classes: int
    train_images: Images
    """uint8 [N, C, H, W]"""
    train_labels: Labels
    """int64 [N], each in 0..classes-1"""
    test_images: Images
    """uint8 [M, C, H, W], the same C, H, W"""
    test_labels: Labels
    """int64 [M], each in 0..classes-1"""
    mean: tuple[float, ...] = ()
    """[C], of pixels in 0..1; by default that of the training images"""
    std: tuple[float, ...] = ()
    """[C], of pixels in 0..1, above 0; likewise"""
    augment: Augment = "none"
    """How training images of this kind are usually augmented."""

    def __post_init__(self) -> None:
        self._check_part("training", self.train_images, self.train_labels)
        self._check_part("test", self.test_images, self.test_labels)
        if not self.mean and not self.std:
            for name, values in zip(("mean", "std"), channel_statistics(self.train_images), strict=True):
                object.__setattr__(self, name, values)  # of a frozen value, before anyone sees it
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {shape_text(self.train_images)} "
                f"but test images are {shape_text(self.test_images)}"
            )
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            raise DataError(
                f"{self.name}: {len(self.mean)} means and {len(self.std)} standard deviations "
                f"for {self.image_shape[0]} channels"
            )
        for channel, std in enumerate(self.std):
            if not std > 0:
                raise DataError(
                    f"{self.name}: channel {channel} has standard deviation {std}; it must be above 0, "
                    "so the channel may not be the same everywhere"
                )
        if self.augment not in get_args(Augment):
            raise DataError(
                f"{self.name}: augment is {self.augment!r}; allowed are {', '.join(get_args(Augment))}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    def _check_part(self, part: str, images: Images, labels: Labels) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"{self.name}: {part} images are {images.dtype} {list(images.shape)}, not uint8 [N, C, H, W]"
            )
        if images.shape[3] in (1, 3) and images.shape[1] == images.shape[2] > 4:
            raise DataError(
                f"{self.name}: {part} images are {list(images.shape)}: the channels come before the rows, "
                "[N, C, H, W]"
            )
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(
                f"{self.name}: {part} labels are {labels.dtype} {list(labels.shape)}, not int64 [N]"
            )
        if len(images) != len(labels):
            raise DataError(f"{self.name}: {len(images):,} {part} images but {len(labels):,} labels")
        if images.size == 0:
            raise DataError(f"{self.name}: there are no {part} images")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise DataError(
                f"{self.name}: {part} labels are {labels.min()}..{labels.max()}, "
                f"but {self.classes} classes are 0..{self.classes - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A data set that is known to be there, or where to get it, but is not decoded yet."""

    name: str
    """The registered name."""
    digest: str
    """Hex SHA-256 that changes whenever an image, a label or the split into train and test does."""
    description: str
    """One line for people: what it is and where it comes from, or will."""
    augment: Augment
    """How training images of this kind are usually augmented."""
    load: Callable[[], Dataset]
    """Decodes it; raises `DataError`. Can be pickled."""
    train_images: int | None = None
    """How many images its training part has, the validation's included, where that is known."""
    image_shape: tuple[int, int, int] | None = None
    """(C, H, W) of every image, where that is known before they are decoded; likewise `classes`."""
    classes: int | None = None


Find = Callable[..., DataSource]

datasets = function_registry("data set", ())
"""Name → function of the data set's options that checks, without decoding, that it is there."""


def data_set(name: str | None = None) -> Callable[[Find], Find]:
    """Decorator of a data set, all of whose arguments are options; a user's own needs none.

    `name`: see `Registry.file`.
    """
    return lambda find: datasets.file(name, find, find)


def source_of(dataset: Dataset, load: Callable[[], Dataset]) -> DataSource:
    """A data set that is in memory already as one that is found; `load` makes it again elsewhere."""
    about = (dataset.name, dataset.classes, dataset.mean, dataset.std)
    return DataSource(
        name=dataset.name,
        digest=digest_of("content", repr(about), *content_of(dataset)),
        description=f"{dataset.name}: {shape_text(dataset.train_images)}, {dataset.classes} classes, "
        f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images",
        augment=dataset.augment,
        load=load,
        train_images=len(dataset.train_images),
        image_shape=dataset.image_shape,
        classes=dataset.classes,
    )


def content_of(dataset: Dataset) -> list[bytes]:
    """All pixels and labels, independent of the machine's byte order."""
    parts: list[Images | Labels] = [dataset.train_images, dataset.test_images]
    parts += [dataset.train_labels, dataset.test_labels]
    return [part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts]


def digest_of(*parts: str | bytes) -> str:
    """Hex SHA-256 of a sequence of parts; where one part ends counts."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def shape_text(images: Images) -> str:
    """The shape of one image for people: `32x32 RGB`, width first."""
    _, channels, height, width = images.shape
    kind = {1: "grey", 3: "RGB"}.get(channels, f"with {channels} channels")
    return f"{width}x{height} {kind}"
