"""Named, independent random streams, all made from a trial's one seed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def _entropy(seed: int, name: str) -> list[int]:
    digest = hashlib.sha256(name.encode()).digest()
    return [seed, int.from_bytes(digest[:8], "little")]


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream `name` of `seed`: the same pair always gives the same numbers.

    Streams of different names are independent, so drawing more from one (a longer training, say)
    never moves another. This is what pairs trials: one seed, one set of initial weights and one
    data order, whatever the method.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_entropy(seed, name))))


@contextmanager
def torch_seeded(seed: int, name: str, device: str = "cpu") -> Iterator[None]:
    """Inside the block torch's global streams, of CPU and CUDA, are the one named; outside, untouched.

    For code that can only draw from a global stream: the constructor of a user's network, or dropout.
    """
    import torch

    on_gpu = device.startswith("cuda")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count() if on_gpu else 0)):
        start = int(stream(seed, name).integers(2**63))
        torch.default_generator.manual_seed(start)
        if on_gpu:
            torch.cuda.manual_seed_all(start)
        yield
