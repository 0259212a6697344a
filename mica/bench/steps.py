"""Training steps, the usual way and mica's, side by side."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import mica
from mica.bench.figures import StepRow
from mica.methods import DENSE
from mica.models import build
from mica.training.engine import sgd, step
from mica.training.protocol import Precision, Protocol, default_protocol
from mica.trial.form import training_form

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


_WARM_UP = 2
_SHARE = 4
"""Up to so many of mica's steps a round: they are the shorter ones."""


def time_case(case: Case, setting: Setting, peak_gflops: float) -> StepRow:
    """Medians for each seed."""
    runs = [_Race(case, setting, seed) for seed in setting.seeds]
    for race in runs:
        race.run()
    limits = [run.arithmetic / peak_gflops / 1e6 for run in runs]
    shares = tuple(limit / median(run.mica) for limit, run in zip(limits, runs, strict=True))
    return StepRow(
        model=case.model,
        method=case.method,
        log10_ratio=case.log10_ratio,
        precision=case.precision,
        batch_size=setting.batch_size,
        masked_dense_ms=tuple(median(run.masked_dense) for run in runs),
        mica_ms=tuple(median(run.mica) for run in runs),
        spread=tuple(_spread(run.mica) for run in runs),
        limit_share=shares if all(limits) else None,
        loss_difference=max(run.loss_difference for run in runs),
    )


def peak_gflops(device: str, precision: Precision) -> float:
    """Speed of a large matrix product, the best of several."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    times = [_timed(lambda: a @ b, device)[0] for _ in range(6)]
    return 2 * size**3 / min(times) / 1e6


class _Race:
    """One network and one seed: both sides from the same weights on the same batch."""

    def __init__(self, case: Case, setting: Setting, seed: int) -> None:
        self.device, self.rounds = setting.device, setting.rounds
        torch.manual_seed(seed)
        model = build(case.model, input_shape=SHAPE, classes=CLASSES, seed=seed)
        graph = mica.trace(model, SHAPE)
        masks = mica.sparsify(model, case.method, 10**case.log10_ratio, seed, graph=graph)
        functional = mica.functional(graph, masks).counts()
        self.arithmetic = 3 * setting.batch_size * graph.flops(functional)
        self.images = torch.randn(setting.batch_size, *SHAPE, device=self.device)
        self.labels = torch.randint(CLASSES, (setting.batch_size,), device=self.device)
        protocol = Protocol(**default_protocol(case.model, "none"))
        theirs, ours = (copy.deepcopy(model).to(self.device).train() for _ in range(2))
        self._theirs = self._masked_dense(theirs, {} if case.method == str(DENSE) else masks, protocol)
        form = training_form(ours, masks, SHAPE, self.device)
        optimiser = sgd(form.network.train(), protocol)
        self._ours = lambda: step(form.network, optimiser, self.images, self.labels, case.precision)
        self.masked_dense: list[float] = []
        self.mica: list[float] = []
        self.loss_difference = 0.0

    def _masked_dense(
        self, model: nn.Module, masks: Mapping[str, Tensor], protocol: Protocol
    ) -> Callable[[], Tensor]:
        """The usual way: weights × masks at full width in every step, eager, contiguous, fp32."""
        optimiser = sgd(model, protocol, fused=False)
        factors = {f"{name}.weight": mask.to(self.device).float() for name, mask in masks.items()}

        def forward(images: Tensor) -> Tensor:
            masked = {name: model.get_parameter(name) * factor for name, factor in factors.items()}
            scores: Tensor = functional_call(model, masked, (images,))
            return scores

        return lambda: step(forward, optimiser, self.images, self.labels)

    def run(self) -> None:
        first = [F.cross_entropy(side(), self.labels).item() for side in (self._theirs, self._ours)]
        self.loss_difference = abs(first[0] - first[1]) / abs(first[0])
        warm = [_timed(side, self.device)[0] for _ in range(_WARM_UP) for side in (self._theirs, self._ours)]
        share = max(1, min(_SHARE, round(warm[-2] / warm[-1])))
        for _ in range(self.rounds):
            self.masked_dense.append(_timed(self._theirs, self.device)[0])
            self.mica += [_timed(self._ours, self.device)[0] for _ in range(share)]


def _timed(function: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    """Milliseconds until the device has done it, and the result."""
    begin = time.perf_counter()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - begin), result


def _spread(times: list[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = quantiles(times, n=4)
    return (high - low) / median(times)
