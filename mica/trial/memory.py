"""How much of a GPU's memory a trial takes, roughly: enough to say that a share is far too small."""

import math

from mica.data import Dataset
from mica.trial.prepare import input_shape, network_of
from mica.trial.spec import TrialSpec

_FLOAT_BYTES = 4
_COPIES = 4
"""Of the weights: themselves, masked, their gradients, their momentum."""
_OVERHEAD_BYTES = 600 * 2**20
"""CUDA's own, and the convolutions' working space."""


def training_bytes(spec: TrialSpec, dataset: Dataset) -> int:
    """At full width, which no sparse network exceeds; counted, and not yet compared with a real GPU."""
    model, graph = network_of(spec, dataset)
    weights = sum(parameter.numel() for parameter in model.parameters())
    values = sum(math.prod(op.shape) for op in graph.ops)  # each kept for its gradient, which is as large
    images = len(dataset.train_images) + len(dataset.test_images)
    pixels = math.prod(input_shape(spec.model.name, dataset.image_shape))
    floats = _COPIES * weights + 2 * values * spec.protocol.batch_size
    return _FLOAT_BYTES * floats + images * pixels + _OVERHEAD_BYTES
