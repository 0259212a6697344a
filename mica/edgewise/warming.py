"""The process that compiles the kernels: `python -m mica.edgewise.warming float32`."""

import sys

import torch
from torch import nn

from mica.edgewise.block import Block
from mica.edgewise.compiling import ready


def main(name: str) -> None:
    """Run every kernel once, on numbers of a type."""
    dtype = getattr(torch, name)
    ready.add(dtype)  # or it would wait for itself
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=dtype)
    mask = torch.ones_like(conv.weight, dtype=torch.bool)
    for block in (
        Block(conv, mask, nn.BatchNorm2d(3, dtype=dtype), True, 2),
        Block(conv, mask, None, False, 1),
    ):
        block(torch.ones(4, 2, 8, 8, dtype=dtype, requires_grad=True)).sum().backward()


if __name__ == "__main__":
    main(sys.argv[1])
