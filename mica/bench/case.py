"""What the benchmark times: networks, pruned, on random images of CIFAR's shape."""

from dataclasses import dataclass

import torch
from torch import nn

import mica
from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.models import build
from mica.training.images import ImageSet
from mica.training.protocol import Precision

SHAPE, CLASSES = (3, 32, 32), 10


@dataclass(frozen=True)
class Case:
    """A network to time."""

    model: str
    method: str
    log10_ratio: float
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Setting:
    """What all cases share."""

    device: str
    seeds: tuple[int, ...]
    rounds: int
    """Steps of the slower side; the faster one takes a few in each round."""
    batch_size: int = 128


def pruned(case: Case, seed: int) -> tuple[nn.Module, LayerGraph, Masks]:
    """A case's network on the CPU, its initial weights dense, and the masks beside it."""
    model = build(case.model, input_shape=SHAPE, classes=CLASSES, seed=seed)
    graph = mica.trace(model, SHAPE)
    return model, graph, mica.sparsify(model, case.method, 10**case.log10_ratio, seed, graph=graph)


def random_images(count: int, shape: tuple[int, int, int], classes: int, device: str) -> ImageSet:
    """Images of noise, whose labels mean nothing."""
    pixels = torch.randint(256, (count, *shape), dtype=torch.uint8, device=device)
    labels = torch.randint(classes, (count,), device=device)
    mean, std = (torch.full((1, shape[0], 1, 1), value, device=device) for value in (0.5, 0.25))
    return ImageSet(pixels, labels, mean, std)
