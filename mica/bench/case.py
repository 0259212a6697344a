"""What the benchmark times: networks, pruned, on random images of CIFAR's shape."""

from dataclasses import dataclass

from torch import nn

import mica
from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.models import build
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
