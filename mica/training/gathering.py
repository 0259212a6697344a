"""Images as (channels, rows, columns, images) in memory: gathered and normalised in one compiled pass."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mica.edgewise.kernels import part

_BLOCK = 16
"""Images at a time: of each a cache line is at hand, and together they write one."""


def gather(pixels: Tensor, chosen: Tensor, rows: Tensor, columns: Tensor, table: Tensor) -> Tensor:
    """Crops of some images, mirrored or not, normalised.

    Args:
        pixels: uint8 (N, C, H, W).
        chosen: int64 (n,), which of them.
        rows: int64 (n, h), of each image; `columns` likewise (n, w).
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
def _gather(pixels: NDArray[np.uint8], chosen: Any, rows: Any, columns: Any, table: Any, out: Any) -> None:
    channels, height, width, images = out.shape
    flat = out.reshape(-1)
    for begin in range(0, images, _BLOCK):
        end = min(begin + _BLOCK, images)
        for c in range(channels):
            values = table[c]
            for y in range(height):
                at = (c * height + y) * width * images
                for n in range(begin, end):
                    source, where = pixels[chosen[n], c, rows[n, y]], columns[n]
                    for x in range(width):
                        flat[at + x * images + n] = values[source[where[x]]]
