"""Images as (channels, rows, columns, images) in memory: gathered and normalised in one compiled pass."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.machine_code import part

Pixels = NDArray[np.uint8]
_BLOCK = 16
"""Images at a time: of each a cache line is at hand, and together they write one."""


def gather(pixels: Tensor, chosen: Tensor, rows: Tensor, columns: Tensor, table: Tensor) -> Tensor:
    """Crops of some images, mirrored or not, normalised.

    Args:
        pixels: uint8 (N, C, H, W).
        chosen: int64 (n,), which of them.
        rows: int64 (n, h), of each image; `columns` likewise (n, w), one beside the other, either way.
        table: (C, 256), what each value becomes.

    Returns:
        (n, C, h, w) of the table's type, the images innermost in memory.
    """
    shape = (pixels.shape[1], rows.shape[1], columns.shape[1], len(chosen))
    out = torch.empty(shape, dtype=table.dtype)
    _gather(
        pixels.contiguous().numpy(), chosen.numpy(), rows.contiguous().numpy(), columns.contiguous().numpy(),
        table.contiguous().numpy(), out.numpy(),
    )  # fmt: skip
    return out.permute(3, 0, 1, 2)


@part
def _gather(pixels: Pixels, chosen: Any, rows: Any, columns: Any, table: Any, out: Any) -> None:
    channels, height, width, images = out.shape
    flat = out.reshape(-1)
    # The images of a block lie far apart: read as a whole, each is on its way before it is needed.
    block = np.empty((_BLOCK, *pixels.shape[1:]), np.uint8)
    for begin in range(0, images, _BLOCK):
        end = min(begin + _BLOCK, images)
        for n in range(begin, end):
            block[n - begin] = pixels[chosen[n]]
        for c in range(channels):
            values = table[c]
            for y in range(height):
                for n in range(begin, end):
                    source, where = block[n - begin, c, rows[n, y]], columns[n, 0]
                    step = columns[n, 1] - where if width > 1 else 0
                    # Unsigned: whether any other index is negative numba looks, which doubles the time.
                    at = np.uint64((c * height + y) * width * images + n)
                    for _ in range(width):
                        flat[at] = values[np.uint64(source[np.uint64(where)])]
                        at += np.uint64(images)
                        where += step
