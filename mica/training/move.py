"""One move: of each layer the smallest weights go, and as many edges come."""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from mica import rng
from mica.graph import LayerGraph
from mica.masks import Masks
from mica.training.images import ImageSet
from mica.training.protocol import Protocol
from mica.training.state import TrainState


def move(
    state: TrainState, model: nn.Module, graph: LayerGraph, images: ImageSet, protocol: Protocol, seed: int
) -> TrainState:
    """The state with its masks moved as the protocol says.

    Every layer keeps its number of edges. SET (Mocanu et al. 2018) grows at random; RigL (Evci et al. 2020)
    where the loss is steepest, here that of the whole network on the first batch of the next epoch.
    Edges that come start at 0 (see `TrainState.with_masks`); one that has just gone may come back.

    Args:
        state: between two epochs, of which the protocol says that masks move there.
        model: the network at its initial weights; `graph` is its graph.
        images: the training images, on the device to compute on.
        protocol: with its `moving`.
        seed: the trial's.
    """
    moving = protocol.moving
    assert moving
    share = moving.share_after(state.epoch, protocol.epochs)
    gradients = _gradients(state, model, images, protocol, seed) if moving.name == "rigl" else {}
    draw = rng.stream(seed, f"moving/{state.epoch}")
    masks = {}
    for name, mask in state.masks.items():
        steepness = gradients[name].abs().flatten().numpy() if gradients else draw.random(mask.numel())
        weight = state.tensors[f"{name}.weight"]
        masks[name] = _moved(mask, weight, steepness, math.floor(share * int(mask.sum())))
    return state.with_masks(Masks(masks), model, graph)


def _moved(mask: Tensor, weight: Tensor, wanted: np.ndarray, count: int) -> Tensor:
    """The mask with its `count` smallest weights gone, and as many of what is most wanted come.

    Among equals the earlier place goes, and comes.
    """
    kept = np.flatnonzero(mask.numpy())
    size = np.abs(weight.flatten().numpy()[kept])
    found = mask.flatten().numpy().copy()
    found[kept[np.argsort(size, kind="stable")[:count]]] = False
    free = np.flatnonzero(~found)
    found[free[np.argsort(-wanted[free], kind="stable")[:count]]] = True
    return torch.from_numpy(found).view_as(mask)


def _gradients(
    state: TrainState, model: nn.Module, images: ImageSet, protocol: Protocol, seed: int
) -> dict[str, Tensor]:
    """Layer name → gradient of the loss by every weight, pruned ones too, on the CPU.

    Those of the full network, as it is now, in training mode; nothing is learnt from this batch.
    """
    device = images.labels.device
    network = copy.deepcopy(model).to(device)
    network.load_state_dict(dict(state.tensors))
    batches = images.training_batches(
        protocol.batch_size, seed=seed, epoch=state.epoch, augment=protocol.augment == "crop-flip"
    )
    pixels, labels = next(iter(batches))
    layers = {name: network.get_parameter(f"{name}.weight") for name in state.masks}
    with rng.torch_seeded(seed, f"moving/dropout/{state.epoch}", device.type):
        loss = nn.functional.cross_entropy(network.train()(pixels), labels)
        found = torch.autograd.grad(loss, list(layers.values()))
    return {name: gradient.cpu() for name, gradient in zip(layers, found, strict=True)}
