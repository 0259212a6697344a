"""Training steps, the usual way and mica's, side by side."""

import copy
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import Tensor, nn
from torch.func import functional_call

import mica
from mica.bench.case import CLASSES, SHAPE, Case, Setting, pruned
from mica.bench.gpu import gpu_use
from mica.bench.measurements import StepRow
from mica.pruning.methods import DENSE
from mica.training.forms import enter
from mica.training.learner import EagerLearner
from mica.training.optimiser import sgd
from mica.training.protocol import Precision, Protocol, default_protocol
from mica.training.state import TrainState

_WARM_UP = {"cpu": 2, "cuda": 4}
"""Steps; on a GPU the last of them is recorded as a graph."""
_SHARE = 4
"""Up to so many of mica's steps a round: they are the shorter ones."""


def time_case(case: Case, setting: Setting, peak_gflops: float) -> StepRow:
    """Medians for each seed."""
    races = [_race(case, setting, seed) for seed in setting.seeds]
    limits = [race.arithmetic / peak_gflops / 1e6 for race in races]
    shares = tuple(limit / median(race.mica) for limit, race in zip(limits, races, strict=True))
    return StepRow(
        model=case.model,
        method=case.method,
        log10_ratio=case.log10_ratio,
        precision=case.precision,
        batch_size=setting.batch_size,
        masked_dense_ms=tuple(median(race.masked_dense) for race in races),
        mica_ms=tuple(median(race.mica) for race in races),
        spread=tuple(_spread(race.mica) for race in races),
        limit_share=shares if all(limits) else None,
        loss_difference=max(race.loss_difference for race in races),
        gpu=gpu_use(case, setting) if setting.device.startswith("cuda") else None,
    )


_SLOW = 50.0
"""Milliseconds of a matrix product that are long enough to tell its speed."""


def peak_gflops(device: str, precision: Precision) -> float:
    """Speed of a matrix product, the best of several; of a large one, unless the device is slow at it."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    size, largest = 256, 8192 if device.startswith("cuda") else 2048
    while True:
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        milliseconds = min(timed(lambda a=a, b=b: a @ b, device) for _ in range(6))  # type: ignore[misc]
        if size == largest or milliseconds > _SLOW:  # a CPU without bfloat16 would need minutes
            return 2 * size**3 / milliseconds / 1e6
        size *= 2


@dataclass(frozen=True)
class _Race:
    """One network and one seed: both sides from the same weights on the same batch."""

    arithmetic: int
    """FLOP of a step on functional edges alone."""
    masked_dense: list[float]
    mica: list[float]
    loss_difference: float


def _race(case: Case, setting: Setting, seed: int) -> _Race:
    gc.collect()  # a traced network refers to itself: the last race's would stay in memory for long
    device = setting.device
    torch.manual_seed(seed)
    model, graph, masks = pruned(case, seed)
    images = torch.randn(setting.batch_size, *SHAPE, device=device)
    labels = torch.randint(CLASSES, (setting.batch_size,), device=device)
    protocol = Protocol(**default_protocol(case.model, "none"))

    usual = copy.deepcopy(model).to(device).train()
    forward = _masked_dense(usual, {} if case.method == str(DENSE) else masks)
    usual_sgd = sgd(usual, protocol, fused=None)
    form = enter(model, graph, TrainState.begin(model, masks), device)
    form.network.train()
    # Each side gets images as its training would make them.
    own_images = images.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2) if form.innermost else images
    learners = (
        EagerLearner(forward, usual_sgd),
        form.learner(protocol.model_copy(update={"precision": case.precision})),
    )
    for learner in learners:
        learner.rate = protocol.lr

    def theirs() -> Tensor:
        return learners[0](images, labels)

    def ours() -> Tensor:
        return learners[1](own_images, labels)

    first = [side()[0].item() for side in (theirs, ours)]
    warm = [
        timed(side, device)
        for _ in range(_WARM_UP.get(torch.device(device).type, 2))
        for side in (theirs, ours)
    ]
    share = max(1, min(_SHARE, round(warm[-2] / warm[-1])))
    masked_dense, mine = [], []
    for _ in range(setting.rounds):
        masked_dense.append(timed(theirs, device))
        mine += [timed(ours, device) for _ in range(share)]
    return _Race(
        arithmetic=3 * setting.batch_size * graph.flops(mica.functional(graph, masks).counts()),
        masked_dense=masked_dense,
        mica=mine,
        loss_difference=abs(first[0] - first[1]) / abs(first[0]),
    )


def _masked_dense(model: nn.Module, masks: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """The usual way: weights × masks at full width in every step, eager, contiguous, fp32."""
    weights = {f"{name}.weight": model.get_parameter(f"{name}.weight") for name in masks}
    factors = {f"{name}.weight": mask.to(weights[f"{name}.weight"]) for name, mask in masks.items()}

    def forward(images: Tensor) -> Tensor:
        masked = {name: weight * factors[name] for name, weight in weights.items()}
        logits: Tensor = functional_call(model, masked, (images,))
        return logits

    return forward


def timed(function: Callable[[], Tensor], device: str) -> float:
    """Milliseconds until the device has done it."""
    begin = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - begin)


def _spread(times: list[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = quantiles(times, n=4)
    return (high - low) / median(times)
