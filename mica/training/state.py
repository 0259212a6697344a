"""TrainState: a training between two epochs, in the coordinates of the full network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mica.compaction.places import grid, kept_places, own_tensors
from mica.graph.layers import LayerGraph
from mica.masks import Masks
from mica.training.evaluation import Metrics


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch gave. Train metrics are means over the epoch while it trained, augmentation on."""

    number: int
    """From 1."""
    lr: float
    train: Metrics
    val: Metrics
    test: Metrics
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether the losses are still numbers; once one is not, training has diverged."""
        return all(math.isfinite(metrics.loss) for metrics in (self.train, self.val, self.test))


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """All that a training is made of but its seed and protocol; any form can go on from it.

    It does not tell which form was trained. *Droppable* channels (those that compaction drops: nothing reads
    them, or they are exactly zero and stay so) change no other number, but a compact form does not have them
    and the plain one decays their weights. So every form leaves them as they were before the first step,
    masked and with zero momentum, and that is how they start if a change of masks brings them to life.
    """

    tensors: Mapping[str, Tensor]
    """Name as in the network's state dict → weight or buffer, on the CPU; pruned weights are 0."""
    momentum: Mapping[str, Tensor]
    """Parameter → its momentum, on the CPU; empty before the first step."""
    masks: Masks
    rows: tuple[Epoch, ...]
    """Of every epoch done."""

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.rows)

    @classmethod
    def begin(cls, model: nn.Module, masks: Masks) -> "TrainState":
        """The state before the first step, from a network at its initial weights."""
        masks = masks.to("cpu")
        owned: dict[int, Tensor] = {}  # what has two names stays one tensor
        tensors: dict[str, Tensor] = {}
        for name, value in model.state_dict(keep_vars=True).items():
            if isinstance(value, Tensor):
                if id(value) not in owned:
                    owned[id(value)] = value.detach().to("cpu", copy=True)
                tensors[name] = owned[id(value)]
        for name, mask in masks.items():
            tensors[f"{name}.weight"].masked_fill_(~mask, 0)
        return cls(tensors=tensors, momentum={}, masks=masks, rows=())

    def with_masks(self, masks: Masks, model: nn.Module, graph: LayerGraph) -> "TrainState":
        """The state with other masks, between two epochs.

        Edges that go become 0, and edges that come start from 0, with zero momentum both. A channel that was
        droppable under the old masks starts from its initial values with zero momentum, its edges that come
        included: no form has trained it. One that is droppable under the new masks is as good as reset,
        since forms enter without it.

        Args:
            masks: the new ones, of all layers.
            model: the network at its initial weights; `graph` is its graph.
        """
        fresh = TrainState.begin(model, masks)
        momentum = {name: torch.zeros_like(value) for name, value in self.momentum.items()}
        stays = {f"{name}.weight": fresh.masks[name] & mask for name, mask in self.masks.items()}
        places = kept_places(graph, model, self.masks, self.tensors)
        for name in own_tensors(model):
            place = grid(places.get(name, ()))
            for old, new in ((self.tensors, fresh.tensors), (self.momentum, momentum)):
                if name in old:
                    value = old[name][place]
                    new[name][place] = value.where(stays[name][place], 0) if name in stays else value
        return replace(fresh, momentum=momentum, rows=self.rows)
