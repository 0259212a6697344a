"""From a trial's spec to what is trained: its network, its masks, its images."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from mica.data import Dataset, Split, scoring_images, split
from mica.errors import UserError
from mica.graph import LayerGraph
from mica.graph.tracing import trace
from mica.masks import Masks
from mica.models import build, models
from mica.pruning.rewiring import rewire
from mica.pruning.sparsify import sparsify
from mica.rng import stream
from mica.training.engine import Parts
from mica.training.images import ImageSet, image_set
from mica.training.initial_weights import normalise, open_up, rescale
from mica.training.state import TrainState
from mica.trial.score_cache import score_cache
from mica.trial.spec import TrialSpec

_LAST: dict[tuple[object, ...], LayerGraph] = {}
"""The graph of the network that this process has traced last, by what the network is made from."""


@dataclass(frozen=True)
class PreparedTrial:
    """A trial that is ready to train: its network, its masks and its images."""

    spec: TrialSpec
    dataset: Dataset
    device: str
    model: nn.Module
    graph: LayerGraph
    masks: Masks

    def parts(self) -> Parts:
        """Training, validation and test images on the device."""
        return _parts(self.spec, self.dataset, self.device)

    def begin(self) -> TrainState:
        """The state before the first step."""
        return TrainState.begin(self.model, self.masks)


def check_fits(spec: TrialSpec, dataset: Dataset) -> list[str]:
    """What is wrong with a trial's network or split, found without making a mask."""
    faults = []
    try:
        network_of(spec, dataset)
    except Exception as error:  # the constructor of a user's own network may raise anything
        found = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        faults.append(f"model {spec.model.label!r} on {spec.data.label!r}: {found}")
    try:
        _split(spec, dataset)
    except UserError as error:
        faults.append(f"protocol: {error}")
    return faults


def prepare(spec: TrialSpec, dataset: Dataset, device: str) -> PreparedTrial:
    """The network with its initial weights, dense, and the trial's masks beside it."""
    model, graph = network_of(spec, dataset)
    model.to(device)
    masks = sparsify(
        model,
        spec.method,
        spec.ratio,
        spec.seed,
        graph=graph,
        data=_scoring_data(spec, dataset, device) if spec.method.needs_images else None,
        budget=spec.budget,
        rounding=spec.rounding,
        target=spec.target,
        cache=score_cache(),
    )
    if spec.wiring == "rewired":
        masks = rewire(graph, masks, stream(spec.seed, "rewiring"))
    model.cpu()  # a form brings what it trains to the device
    if spec.protocol.initial_weights == "redrawn":
        model.load_state_dict(_drawn(spec, dataset, "weights once more").state_dict())
    elif spec.protocol.initial_weights == "rescaled":
        rescale(model, masks)
    elif spec.protocol.initial_weights in ("normalised", "open"):
        normalise(model, masks)
        if spec.protocol.initial_weights == "open":
            open_up(model, graph, masks)
    return PreparedTrial(spec, dataset, device, model, graph, masks)


def enlargement(model: str, image_shape: tuple[int, int, int]) -> int:
    """By what whole factor images are enlarged for a network that needs more pixels."""
    return max(1, -(-models.get(model).smallest_side // min(image_shape[1:])))


def input_shape(model: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Of an image as the network gets it."""
    factor = enlargement(model, image_shape)
    channels, height, width = image_shape
    return channels, height * factor, width * factor


def network_of(spec: TrialSpec, dataset: Dataset) -> tuple[nn.Module, LayerGraph]:
    """The trial's network with its initial weights, dense, and its graph.

    Raises `UserError` when it cannot be traced, or does not answer with one number a class.
    """
    model = _drawn(spec, dataset, "weights")
    graph = _traced(model, spec, dataset)
    if (found := graph.ops[-1].shape) != (dataset.classes,):
        raise UserError(
            f"its output is {list(found)} for one image; it must be [{dataset.classes}], one a class"
        )
    return model, graph


def _traced(model: nn.Module, spec: TrialSpec, dataset: Dataset) -> LayerGraph:
    """Once for all masks of a network and seed, which follow each other: a quarter of their time."""
    shape = input_shape(spec.model.name, dataset.image_shape)
    of = (models.get(spec.model.name).build, spec.model, shape, dataset.classes, spec.seed)
    graph = _LAST.get(of)
    if graph is None:
        graph = trace(model, shape)
        _LAST.clear()
        _LAST[of] = graph
    return graph


def _drawn(spec: TrialSpec, dataset: Dataset, stream: str) -> nn.Module:
    shape = input_shape(spec.model.name, dataset.image_shape)
    return build(spec.model, input_shape=shape, classes=dataset.classes, seed=spec.seed, stream=stream)


def _split(spec: TrialSpec, dataset: Dataset) -> Split:
    protocol = spec.protocol
    return split(
        dataset,
        spec.seed,
        train_size=protocol.train_size,
        val_size=protocol.val_size,
        test_size=protocol.test_size,
    )


def _parts(spec: TrialSpec, dataset: Dataset, device: str) -> Parts:
    factor, indices = enlargement(spec.model.name, dataset.image_shape), _split(spec, dataset)

    def on_device(part: str, chosen: np.ndarray) -> ImageSet:
        return image_set(dataset, part, chosen, enlarge=factor, device=device)

    return Parts(
        on_device("train", indices.train), on_device("train", indices.val), on_device("test", indices.test)
    )


def _scoring_data(spec: TrialSpec, dataset: Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Training images that the trial trains on, not augmented, and their labels."""
    factor = enlargement(spec.model.name, dataset.image_shape)
    chosen = scoring_images(_split(spec, dataset), dataset.classes, spec.seed)
    images = image_set(dataset, "train", chosen, enlarge=factor, device=device)
    return images.normalised(slice(None)), images.labels
