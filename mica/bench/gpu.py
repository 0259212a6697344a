"""What one training takes of a GPU, and so how many can share it."""

import gc

import torch
from torch.profiler import ProfilerActivity, profile

from mica.bench.case import CLASSES, SHAPE, Case, Setting, pruned, random_images
from mica.bench.measurements import GpuUse
from mica.training.engine import Parts, train
from mica.training.forms import enter
from mica.training.protocol import Protocol, default_protocol
from mica.training.state import TrainState

_STEPS = 50
"""Of the epoch that is looked at."""
_CONTEXT = 600_000_000
"""Bytes that a process takes of a GPU before its first tensor, about."""
_CIFAR = 60_000 * 3 * (32 * 32 + 40 * 40)
"""Bytes of CIFAR's images, as they are and padded."""


def gpu_use(case: Case, setting: Setting) -> GpuUse:
    """Train and evaluate a short epoch as a trial does, validation and test in CIFAR's proportions.

    The memory is the higher peak of training and evaluation. A method that scores images may need more while
    it does.
    """
    gc.collect()  # a traced network refers to itself: another's memory would be given back on the way
    device, seed = setting.device, setting.seeds[-1]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    model, graph, masks = pruned(case, seed)
    form = enter(model, graph, TrainState.begin(model, masks), device)
    images = _STEPS * setting.batch_size
    parts = Parts(
        *(random_images(count, SHAPE, CLASSES, device) for count in (images, images // 4, images // 4))
    )
    # The labels mean nothing: a tiny rate keeps the losses finite.
    changes = {"epochs": 3, "lr": 1e-6, "batch_size": setting.batch_size, "precision": case.precision}
    protocol = Protocol(**{**default_protocol(case.model, "crop-flip"), **changes})
    epochs = train(form, parts, protocol, seed)
    next(epochs)  # loads kernels
    seconds = next(epochs).seconds
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:  # which takes time of its own
        next(epochs)
    kernels = sum(
        event.self_device_time_total
        for event in profiler.events()
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    )
    memory = torch.cuda.max_memory_reserved(device) - before + _CIFAR + _CONTEXT
    return GpuUse(
        busy=min(1.0, kernels / 1e6 / seconds) or None,
        memory=memory / torch.cuda.get_device_properties(device).total_memory,
    )
