"""Images on the training device, and batches of them: nothing here runs once an image."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mica import rng
from mica.data import Dataset, Indices

if TYPE_CHECKING:
    from mica.training.gathering import Innermost

_PAD = 4
"""Pixels of black around an image that random crops may take in."""


@dataclass(frozen=True)
class ImageSet:
    """One part of a data set, in device memory for as long as the trial runs."""

    pixels: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""
    mean: Tensor
    """(1, C, 1, 1), of pixels in 0..1; `std` likewise."""
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def normalised(self, indices: Tensor | slice) -> Tensor:
        """Images as networks take them, float32 (n, C, H, W)."""
        return self._normalise(self.pixels[indices])

    def part(self, start: int, stop: int) -> Tensor:
        """Some that follow each other."""
        return self.normalised(slice(start, stop))

    def cropped(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Crops of padded images by their rows (n, h) and columns (n, w), int64."""
        # One gather crops and flips: (n, 1, 1), (1, C, 1), (n, H, 1) and (n, 1, W) broadcast.
        channels = torch.arange(self.pixels.shape[1], device=self.labels.device)[None, :, None, None]
        crop = self._padded[
            chosen[:, None, None, None], channels, rows[:, None, :, None], columns[:, None, None, :]
        ]
        return self._normalise(crop)

    def batches(self, size: int, *, innermost: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, for evaluation; for `innermost` see `training_batches`."""
        source = self._innermost if innermost else self
        for start in range(0, len(self), size):
            yield source.part(start, start + size), self.labels[start : start + size]

    def training_batches(
        self, size: int, *, seed: int, epoch: int, augment: bool, innermost: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in an order of this seed and epoch, cropped and flipped at random if asked.

        A last batch of a single image joins the one before: batch norm has no variance of one value.

        Args:
            innermost: that images are to be innermost in memory, which must be a CPU's. The numbers are
                the same.
        """
        device = self.labels.device
        order = torch.from_numpy(rng.stream(seed, f"order/{epoch}").permutation(len(self))).to(device)
        starts = list(range(0, len(self), size))
        if len(starts) > 1 and len(self) - starts[-1] == 1:
            starts.pop()
        windows = self._crops(seed, epoch) if augment else None
        plain, padded = (self._innermost, self._innermost_padded) if innermost else (self, self)
        for start, end in zip(starts, [*starts[1:], len(self)], strict=True):
            chosen = order[start:end]
            if windows is None:
                pixels = plain.normalised(chosen)
            else:
                pixels = padded.cropped(chosen, *(axis[start:end] for axis in windows))
            yield pixels, self.labels[chosen]

    def _crops(self, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """For each image of the epoch the rows (N, H) and columns (N, W) of its crop, mirrored or not."""
        draw, device = rng.stream(seed, f"augment/{epoch}"), self.labels.device
        height, width = (torch.arange(size, device=device) for size in self.pixels.shape[2:])
        top, left = (draw.integers(2 * _PAD + 1, size=(len(self), 1)) for _ in range(2))
        flip = draw.integers(2, size=(len(self), 1)).astype(bool)
        columns = torch.where(torch.from_numpy(flip).to(device), width.flip(0), width)
        return height + torch.from_numpy(top).to(device), columns + torch.from_numpy(left).to(device)

    @cached_property
    def _padded(self) -> Tensor:
        return torch.nn.functional.pad(self.pixels, (_PAD,) * 4)

    @cached_property
    def _innermost(self) -> "Innermost":
        from mica.training.gathering import Innermost  # numba takes half a second to import

        return Innermost(self.pixels, self._table)

    @cached_property
    def _innermost_padded(self) -> "Innermost":
        from mica.training.gathering import Innermost

        return Innermost(self._padded, self._table)

    @cached_property
    def _table(self) -> Tensor:
        """What each value of a channel's pixels becomes: float32 (C, 256)."""
        values = torch.arange(256, dtype=torch.uint8)[None, None, None, :]
        return self._normalise(values.expand(1, self.pixels.shape[1], 1, 256))[0, :, 0]

    def _normalise(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255 - self.mean) / self.std


def image_set(
    dataset: Dataset, part: str, indices: Indices, *, enlarge: int = 1, device: torch.device | str = "cpu"
) -> ImageSet:
    """Some images of a data set's `train` or `test` part on a device, every pixel `enlarge` × `enlarge`."""
    pixels, labels = getattr(dataset, f"{part}_images")[indices], getattr(dataset, f"{part}_labels")[indices]
    if enlarge > 1:
        pixels = np.repeat(np.repeat(pixels, enlarge, axis=2), enlarge, axis=3)
    statistics = (
        torch.tensor(values, device=device)[None, :, None, None] for values in (dataset.mean, dataset.std)
    )
    return ImageSet(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device), *statistics)
