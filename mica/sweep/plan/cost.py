"""What a trial will cost, roughly: enough to start the longest first, so that a sweep's tail is short."""

from collections.abc import Mapping

from mica.pruning.methods import parse_method
from mica.trial.spec import TrialSpec

_MEGAFLOPS = {
    "vgg16": 313.0, "vgg11": 153.0, "resnet20": 41.0, "resnet32": 69.0, "resnet44": 97.0, "resnet56": 126.0,
    "mlp": 1.0,
}  # fmt: skip
"""Millions of multiplications of one image's forward pass, 32x32, dense."""
_MEGAFLOPS_OF_OTHERS = 50.0
_TRAINING_IMAGES = {"cifar10": 40_000, "cifar100": 40_000, "digits": 1_150, "synthetic": 410}
_TRAINING_IMAGES_OF_OTHERS = 10_000
_MASK_IMAGES = {"synflow": 2400, "grasp": 500, "mica": 150, "snip": 100}
"""A pruner's or distribution's time, as that of training so many images: measured on VGG-16, two cores."""
_MASK_IMAGES_OF_OTHERS = 50


def estimated_cost(spec: TrialSpec) -> float:
    """About how long a trial takes, in millions of multiplications of dense forward passes.

    Training costs epochs × images × the network's multiplications; a compact network's time falls about
    with the root of the ratio. A mask costs what its scores do. Only the order matters, not the value.
    """
    method = parse_method(spec.method)
    scores = sum(_MASK_IMAGES.get(part, 0) for part in {method.pruner, method.distribution})
    mask = scores or _MASK_IMAGES_OF_OTHERS
    trained = spec.protocol.epochs * training_images(spec) * 10 ** (-spec.log10_ratio / 2)
    return _MEGAFLOPS.get(spec.model.name, _MEGAFLOPS_OF_OTHERS) * (trained + mask)


def training_images(spec: TrialSpec) -> int:
    """How many images an epoch trains on; a guess for a data set of a user's own."""
    return spec.protocol.train_size or _TRAINING_IMAGES.get(spec.data.name, _TRAINING_IMAGES_OF_OTHERS)


def longest_first(trials: Mapping[str, TrialSpec]) -> dict[str, TrialSpec]:
    """The trials by falling cost; equal ones stay in their order."""
    return dict(sorted(trials.items(), key=lambda item: estimated_cost(item[1]), reverse=True))
