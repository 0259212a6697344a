"""One training step in each form that mica has, and by SparseProp where that is installed."""

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from statistics import median

import torch
from torch import Tensor, nn

import mica
from mica.bench.case import CLASSES, SHAPE, Case, Setting, pruned
from mica.bench.measurements import WaysRow
from mica.bench.steps import timed
from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.training.forms import Form, enter
from mica.training.learner import EagerLearner, Learner
from mica.training.optimiser import sgd
from mica.training.protocol import Protocol, default_protocol
from mica.training.state import TrainState

_WARM_UP = 5
"""Steps of each; on a GPU the fourth is recorded as a graph."""
SPARSEPROP = "SparseProp"
"""Nikdan et al. 2023, "SparseProp: Efficient Sparse Backpropagation for Faster Training"."""


def time_ways(case: Case, setting: Setting) -> WaysRow:
    """Medians of interleaved steps, for each seed."""
    found: dict[str, list[float]] = {}
    for seed in setting.seeds:
        for way, milliseconds in _race(case, setting, seed).items():
            found.setdefault(way, []).append(milliseconds)
    return WaysRow(
        model=case.model,
        method=case.method,
        log10_ratio=case.log10_ratio,
        ms={way: tuple(times) for way, times in found.items()},
    )


def _race(case: Case, setting: Setting, seed: int) -> dict[str, float]:
    device, size = setting.device, setting.batch_size
    torch.manual_seed(seed)
    images = torch.randn(size, *SHAPE, device=device)
    labels = torch.randint(CLASSES, (size,), device=device)
    protocol = Protocol(**default_protocol(case.model, "none"))
    steps = {}
    for way, learner, innermost in _ways(case, protocol, device, size, seed):
        learner.rate = protocol.lr
        own = images.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2) if innermost else images
        steps[way] = _step(learner, own, labels)
    times: dict[str, list[float]] = {way: [] for way in steps}
    for round_ in range(_WARM_UP + setting.rounds):
        for way, step in steps.items():
            milliseconds = timed(step, device)
            if round_ >= _WARM_UP:
                times[way].append(milliseconds)
    return {way: median(taken) for way, taken in times.items()}


def _ways(
    case: Case, protocol: Protocol, device: str, size: int, seed: int
) -> Iterator[tuple[str, Learner, bool]]:
    """Each way's name, what takes its steps, and whether that wants images innermost in memory."""
    model, graph, masks = pruned(case, seed)

    def form(**options: bool) -> Form:
        entered = enter(model, graph, TrainState.begin(model, masks), device, **options)
        entered.network.train()
        return entered

    yield "plain", form(smaller=False).learner(protocol, graphed=False), False
    yield "compact", form(by_edges=False).learner(protocol, graphed=False), False
    if device == "cpu":
        edges = form()
        yield "by edges", edges.learner(protocol), edges.innermost
        if find_spec("sparseprop"):
            yield SPARSEPROP, _sparseprop(model, graph, masks, protocol, size), False
    else:
        yield "as a graph", form().learner(protocol), False


def _sparseprop(
    model: nn.Module, graph: LayerGraph, masks: Masks, protocol: Protocol, size: int
) -> EagerLearner:
    """A network whose sparse layers are its own, wherever it finds those the faster."""
    network = copy.deepcopy(model).train()
    mica.apply(network, mica.functional(graph, masks))
    with redirect_stdout(io.StringIO()):  # it tells of every layer
        swapped = import_module("sparseprop.utils").swap_modules_with_sparse(network, (size, *SHAPE))
    return EagerLearner(swapped, sgd(swapped, protocol, fused=None))


def _step(learner: Learner, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    return lambda: learner(images, labels)
