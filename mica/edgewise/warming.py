"""The process that compiles the kernels: `python -m mica.edgewise.warming float32`."""

import gc
import sys

import torch
from torch import nn

from mica.edgewise.chain import Chain
from mica.edgewise.compiling import ready
from mica.edgewise.learning import ChainLearner
from mica.edgewise.program import Convolution, Mean, Sum


def main(name: str) -> None:
    """Run every kernel once, on numbers of a type."""
    gc.disable()  # a compiler makes much that refers to itself, and this process ends with it
    dtype = getattr(torch, name)
    ready.add(dtype)  # or it would wait for itself
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=dtype)
    mask = torch.ones_like(conv.weight, dtype=torch.bool)
    first = Convolution("a", conv, mask, "b", nn.BatchNorm2d(3, dtype=dtype), True, 2)
    chain = Chain([first, Sum(reads=(1, 1)), Mean(reads=(2,))])
    images = torch.ones(4, 2, 8, 8, dtype=dtype, requires_grad=True)
    chain(images).sum().backward()
    learner = ChainLearner(
        chain, torch.zeros_like(chain.values), momentum=0.9, weight_decay=0.0, nesterov=True
    )
    learner(images.detach(), torch.zeros(4, dtype=torch.int64))


if __name__ == "__main__":
    main(sys.argv[1])
