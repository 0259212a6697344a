"""A training step as one CUDA graph: one launch in place of some hundred.

UNPROVEN: nothing of this has run on a GPU yet; on a CPU all but `CudaGraphs` is tested.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from mica.training.learner import EagerLearner

Step = Callable[[], Tensor]

_EAGER_STEPS = 3
"""Of each size of batch, before it is recorded: they choose kernels and make what the optimiser keeps."""


class Recorder(Protocol):
    """Runs a step as it is, or records it."""

    def run(self, step: Step) -> Tensor:
        """Run it where it could be recorded."""

    def record(self, step: Step) -> Step:
        """What runs it again and again; raises `RuntimeError` where it does what cannot be recorded."""


class GraphedLearner:
    """Replays a step that it has recorded for each size of batch: whole ones, and an epoch's last.

    The first steps of a size run as they are. Where a step cannot be recorded all go on running so.
    """

    def __init__(self, eager: EagerLearner, recorder: Recorder | None = None) -> None:
        self._eager, self._recorder = eager, recorder or CudaGraphs()
        self._recorded: dict[torch.Size, _Recorded] = {}
        self._taken: Counter[torch.Size] = Counter()
        self._recordable = True

    @property
    def rate(self) -> float:
        """See `Learner`; a recorded step reads it from the device."""
        return self._eager.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._eager.rate = rate

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """See `Learner`; the next step of that size may write the result over."""
        size = pixels.shape
        self._taken[size] += 1
        if size not in self._recorded and self._recordable and self._taken[size] > _EAGER_STEPS:
            try:
                self._recorded[size] = _Recorded(self._eager, pixels, labels, self._recorder)
            except RuntimeError as error:
                self._recordable = False
                reason = str(error).splitlines()[0]
                logging.getLogger(__name__).warning("steps run without a CUDA graph: %s", reason)
        if size in self._recorded:
            return self._recorded[size](pixels, labels)
        return self._recorder.run(lambda: self._eager(pixels, labels))


class _Recorded:
    """One step, from images and labels that have their fixed places."""

    def __init__(self, eager: EagerLearner, pixels: Tensor, labels: Tensor, recorder: Recorder) -> None:
        self._pixels, self._labels = pixels.clone(), labels.clone()
        self._step = recorder.record(lambda: eager(self._pixels, self._labels))

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        self._pixels.copy_(pixels)
        self._labels.copy_(labels)
        return self._step()


class CudaGraphs:
    """Graphs of the current GPU, recorded on a stream of their own."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def run(self, step: Step) -> Tensor:
        """See `Recorder`: on that stream, for gradients remember the one on which they were first made."""
        before = torch.cuda.current_stream()
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            result = step()
        before.wait_stream(self._stream)
        return result

    def record(self, step: Step) -> Step:
        """See `Recorder`."""
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            result = step()

        def again() -> Tensor:
            graph.replay()
            return result

        return again
