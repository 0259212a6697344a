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

    Training costs epochs × images × the network's multiplications; a compact network's time falls about
    with the root of the ratio. A mask costs what its pruners say. Only the order matters, not the value.
    """
    mask = 0.0
    if spec.method != DENSE:
        mask = pruners.get(spec.method.pruner.name).cost
        shares = as_ranking(spec.method.distribution)
        mask += shares.pruner.cost if shares else 0.0
    trained = spec.protocol.epochs * images * 10 ** (-spec.log10_ratio / 2)
    return models.get(spec.model.name).megaflops * (trained + mask)


def training_images(spec: TrialSpec, source: DataSource | None) -> int:
    """How many images an epoch trains on; a guess where the data set does not say."""
    if spec.protocol.train_size:
        return spec.protocol.train_size
    if source is None or source.train_images is None:
        return _TRAINING_IMAGES
    return source.train_images - (spec.protocol.val_size or source.train_images // 5)


def longest_first(trials: Mapping[str, TrialSpec], sources: Mapping[str, DataSource]) -> dict[str, TrialSpec]:
    """The trials by falling cost; equal ones stay in their order."""

    def cost(item: tuple[str, TrialSpec]) -> float:
        spec = item[1]
        return estimated_cost(spec, training_images(spec, sources.get(spec.data.label)))

    return dict(sorted(trials.items(), key=cost, reverse=True))
