"""How long masks take, nothing cached."""

import time

import torch

import mica
from mica.bench.case import CLASSES, SHAPE, Case, Setting
from mica.bench.measurements import MaskRow
from mica.models import build
from mica.pruning.methods import parse_method

_SCORED = 10 * CLASSES
"""Images that SNIP and GraSP score, as in a trial."""


def time_masks(case: Case, setting: Setting) -> MaskRow:
    """Seconds of a mask, and of its functional edges, for each seed; the network is traced beforehand."""
    seconds, functional = [], []
    for seed in setting.seeds:
        model = build(case.model, input_shape=SHAPE, classes=CLASSES, seed=seed).to(setting.device)
        graph = mica.trace(model, SHAPE)
        data = None
        if parse_method(case.method).needs_images:
            torch.manual_seed(seed)
            images = torch.randn(_SCORED, *SHAPE, device=setting.device)
            data = images, torch.arange(_SCORED, device=setting.device) % CLASSES
        begin = time.perf_counter()
        masks = mica.sparsify(model, case.method, 10**case.log10_ratio, seed, graph=graph, data=data)
        placed = time.perf_counter()
        mica.functional(graph, masks)
        seconds.append(placed - begin)
        functional.append(time.perf_counter() - placed)
    return MaskRow(
        model=case.model,
        method=case.method,
        log10_ratio=case.log10_ratio,
        seconds=tuple(seconds),
        functional_seconds=tuple(functional),
    )
