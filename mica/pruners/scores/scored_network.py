"""What a ranking pruner may look at: the network as a pure function of its prunable weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mica.errors import UserError
from mica.graph.layers import LayerGraph

BatchNormMode = Literal["eval", "train"]
"""Whether batch norm uses its running statistics or each batch's own."""

_BATCH = 128
"""Images in one pass of scoring; with batch norm in eval mode it changes nothing but memory."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network at initialisation, its graph, and the images that scores are computed on.

    Nothing here changes the network: each pass runs on copies of its buffers, and modes come back.
    """

    model: nn.Module
    graph: LayerGraph
    images: Tensor | None = None
    """Normalised training images (N, C, H, W), not augmented."""
    labels: Tensor | None = None
    """Their classes (N,), int64."""
    seed: int = 0
    """The trial's, for pruners that draw something of their own."""

    @property
    def device(self) -> torch.device:
        """Where the network's parameters lie."""
        return next(self.model.parameters()).device

    def weights(self) -> dict[str, Tensor]:
        """Layer name → initial weight, detached and shared with the network."""
        return {name: self.model.get_parameter(f"{name}.weight").detach() for name in self.graph.layers}

    def forward(
        self, weights: Mapping[str, Tensor], images: Tensor, batch_norm: BatchNormMode = "eval"
    ) -> Tensor:
        """Logits (N, classes) with the prunable weights replaced by `weights`."""
        state = {name: value.clone() for name, value in self.model.named_buffers()}
        replaced = {f"{name}.weight": weight for name, weight in weights.items()}
        with _scoring_mode(self.model, batch_norm):
            logits: Tensor = functional_call(self.model, {**state, **replaced}, (images,))
        return logits

    def absolute_forward(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """`forward` in float64, all other parameters and buffers made positive, batch norm in eval mode."""
        replaced = {f"{name}.weight": weight for name, weight in weights.items()}
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        absolute = {
            name: value.detach().abs().double() if value.is_floating_point() else value.clone()
            for name, value in state.items()
            if name not in replaced
        }
        with _scoring_mode(self.model, "eval"):
            logits: Tensor = functional_call(self.model, {**absolute, **replaced}, (images,))
        return logits

    @property
    def batches(self) -> int:
        """How many there are of the images."""
        return 0 if self.images is None else -(-len(self.images) // _BATCH)

    def batch_losses(
        self,
        weights: Mapping[str, Tensor],
        temperature: float = 1.0,
        batch_norm: BatchNormMode = "eval",
    ) -> Iterator[Tensor]:
        """Batch by batch, the batch's part of the mean cross-entropy over all images.

        Raises:
            UserError: there are no images.
        """
        if self.images is None or self.labels is None:
            raise UserError("this pruner scores training images: pass data=(images, labels)")
        ordered = _quickest(self.images)
        for images, labels in zip(ordered.split(_BATCH), self.labels.split(_BATCH), strict=True):
            loss = F.cross_entropy(self.forward(weights, images, batch_norm) / temperature, labels)
            yield loss * (len(images) / len(self.images))


@contextmanager
def _scoring_mode(model: nn.Module, batch_norm: BatchNormMode) -> Iterator[None]:
    """Dropout off, batch norm as asked; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = batch_norm == "train" and isinstance(module, nn.modules.batchnorm._BatchNorm)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def leaves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as fresh tensors that gradients can be taken for."""
    return {name: _quickest(weight.detach().clone()).requires_grad_() for name, weight in weights.items()}


def _quickest(tensor: Tensor) -> Tensor:
    """Images or weights in the order in memory in which convolutions take the least time."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def gradients(
    output: Tensor, weights: Mapping[str, Tensor], *, create_graph: bool = False
) -> dict[str, Tensor]:
    """∂output/∂weight for each layer."""
    with torch.enable_grad():
        found = torch.autograd.grad(output, list(weights.values()), create_graph=create_graph)
    return dict(zip(weights, found, strict=True))


def loss_gradients(
    network: Network, weights: Mapping[str, Tensor], batch_norm: BatchNormMode
) -> dict[str, Tensor]:
    """∂ mean cross-entropy / ∂weight for each layer, over all the network's images."""
    weights = leaves(weights)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for loss in network.batch_losses(weights, batch_norm=batch_norm):
        for name, part in gradients(loss, weights).items():
            found[name] += part
    return found
