"""Images innermost in memory: gathered as bytes, then normalised, each in one compiled pass."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.machine_code import loop

Bytes = NDArray[np.uint8]
_BLOCK = 16
"""Images at a time: of each a cache line is at hand, and together they fill a good part of one."""


class Innermost:
    """What an `ImageSet` gives, innermost in memory: (n, C, h, w) that lies as (C, h, w, n)."""

    def __init__(self, pixels: Tensor, table: Tensor) -> None:
        """
        Args:
            pixels: uint8 (N, C, H, W).
            table: (C, 256), what each value of a channel becomes.
        """
        self._pixels, self._table = pixels.contiguous(), table.contiguous()
        self._parts: dict[tuple[int, int], Tensor] = {}

    def part(self, start: int, stop: int) -> Tensor:
        """Some that follow each other; their bytes are kept, for every epoch asks for them again."""
        if (start, stop) not in self._parts:
            self._parts[start, stop] = self._whole(torch.arange(len(self._pixels))[start:stop])
        return self._looked_up(self._parts[start, stop])

    def normalised(self, indices: Tensor) -> Tensor:
        """Those of these indices."""
        return self._looked_up(self._whole(indices))

    def cropped(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Crops of those of these indices, mirrored or not.

        Args:
            chosen: int64 (n,).
            rows: int64 (n, h), of each image; `columns` likewise (n, w), one beside the other, either way.
        """
        return self._looked_up(self._gathered(chosen, rows, columns))

    def _whole(self, chosen: Tensor) -> Tensor:
        rows, columns = (torch.arange(side).expand(len(chosen), -1) for side in self._pixels.shape[2:])
        return self._gathered(chosen, rows, columns)

    def _gathered(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        shape = (self._pixels.shape[1], rows.shape[1], columns.shape[1], len(chosen))
        out = torch.empty(shape, dtype=torch.uint8)
        _gather(
            self._pixels.numpy(), chosen.numpy(), rows.contiguous().numpy(), columns.contiguous().numpy(),
            out.numpy(),
        )  # fmt: skip
        return out

    def _looked_up(self, gathered: Tensor) -> Tensor:
        out = torch.empty(gathered.shape, dtype=self._table.dtype)
        _look_up(gathered.flatten(1).numpy(), self._table.numpy(), out.flatten(1).numpy())
        return out.permute(3, 0, 1, 2)


@loop
def _gather(pixels: Bytes, chosen: Any, rows: Any, columns: Any, out: Bytes) -> None:
    channels, height, width, images = out.shape
    flat = out.reshape(-1)
    # The images of a block lie far apart: read as a whole, each is on its way before it is needed.
    block = np.empty((_BLOCK, *pixels.shape[1:]), np.uint8)
    whole, copies = pixels.reshape(len(pixels), -1), block.reshape(_BLOCK, -1)
    for begin in range(0, images, _BLOCK):
        end = min(begin + _BLOCK, images)
        for n in range(begin, end):
            source, target = whole[chosen[n]], copies[n - begin]
            for i in range(len(target)):  # `target[:] = source` takes three seconds to compile
                target[i] = source[i]
        for c in range(channels):
            for y in range(height):
                for n in range(begin, end):
                    row, where = block[n - begin, c, rows[n, y]], columns[n, 0]
                    step = columns[n, 1] - where if width > 1 else 0
                    # Unsigned: whether any other index is negative numba looks, which doubles the time.
                    at = np.uint64((c * height + y) * width * images + n)
                    for _ in range(width):
                        flat[at] = row[np.uint64(where)]
                        at += np.uint64(images)
                        where += step


@loop
def _look_up(gathered: Bytes, table: Any, out: Any) -> None:
    for c in range(len(gathered)):
        values, source, target = table[c], gathered[c], out[c]
        for i in range(len(source)):
            target[i] = values[source[i]]
