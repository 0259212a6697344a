"""What a trial will cost, roughly: enough to start the longest first, so that a sweep's tail is short."""

from collections.abc import Mapping

from mica.data import DataSource
from mica.models import models
from mica.pruners import pruners
from mica.pruning.methods import DENSE, as_ranking
from mica.trial.spec import TrialSpec

_TRAINING_IMAGES = 10_000
"""Of a data set that does not say how many it has."""


def estimated_cost(spec: TrialSpec, images: int) -> float:
    """About how long a trial takes, in millions of multiplications of dense forward passes.

    Only the order matters, not the value; `mica.bench.rough` measures what such a unit takes here.
    """
    return training_cost(spec, images) + mask_cost(spec)


def training_cost(spec: TrialSpec, images: int) -> float:
    """Of the training: epochs × images × `image_cost`."""
    return spec.protocol.epochs * images * image_cost(spec)


def image_cost(spec: TrialSpec) -> float:
    """Of one training image; a compact network's time falls about with the root of the ratio."""
    return models.get(spec.model.name).megaflops * float(10 ** (-spec.log10_ratio / 2))


def mask_cost(spec: TrialSpec) -> float:
    """Of the mask: what its pruners say."""
    if spec.method == DENSE:
        return 0.0
    images = pruners.get(spec.method.pruner.name).cost
    shares = as_ranking(spec.method.distribution)
    images += shares.pruner.cost if shares else 0.0
    return models.get(spec.model.name).megaflops * images


def training_images(spec: TrialSpec, source: DataSource | None) -> int:
    """How many images an epoch trains on; a guess where the data set does not say."""
    if spec.protocol.train_size:
        return spec.protocol.train_size
    if source is None or source.train_images is None:
        return _TRAINING_IMAGES
    return source.train_images - evaluated_images(spec, source)[0]


def evaluated_images(spec: TrialSpec, source: DataSource | None) -> tuple[int, int]:
    """How many images validate and how many test in an epoch; a guess likewise.

    No data set says its test images before it is decoded: as many as validate, by default.
    """
    fifth = max(1, ((source.train_images if source else None) or _TRAINING_IMAGES) // 5)
    return spec.protocol.val_size or fifth, spec.protocol.test_size or fifth


def longest_first(trials: Mapping[str, TrialSpec], sources: Mapping[str, DataSource]) -> dict[str, TrialSpec]:
    """The trials by falling cost; equal ones stay in their order."""

    def cost(item: tuple[str, TrialSpec]) -> float:
        spec = item[1]
        return estimated_cost(spec, training_images(spec, sources.get(spec.data.label)))

    return dict(sorted(trials.items(), key=cost, reverse=True))
