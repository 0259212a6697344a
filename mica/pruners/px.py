"""PX: the edges that carry the most of a bound on the tangent kernel's trace stay (Iurada et al. 2024)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mica.errors import UserError
from mica.pruners.kinds import ranking
from mica.pruners.scores.scored_network import Network, gradients

_RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_BATCH = 128
"""Images in one pass."""


@ranking("px", iterations=100, cost=30_000)
def px(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """w² ⊙ ∂R/∂w², R the sum over images and outputs of two networks' product.

    One has w² for weights, no ReLU, and ones for an image: it counts paths by their weights. The other has
    ones for the weights that are left and the image squared, and lets through what the network's own ReLUs
    let through: it counts the paths that an image takes. Batch norm is in eval mode and in float64, where the
    authors' is in training mode to keep the numbers small.

    Raises:
        UserError: there are no images, or the network has an activation that is no ReLU.
    """
    if network.images is None:
        raise UserError("this pruner scores training images: pass data=(images, labels)")
    taken = sum(_taken(network, weights, images) for images in network.images.split(_BATCH))
    squares = {name: (weight.double() ** 2).requires_grad_() for name, weight in weights.items()}
    ones = torch.ones(1, *network.graph.input_shape, dtype=torch.float64, device=network.device)
    with torch.enable_grad(), _Relus(lambda x: x):
        bound = (network.absolute_forward(squares, ones)[0] * taken).sum()
    slopes = gradients(bound, squares)
    return {name: square.detach() * slopes[name] for name, square in squares.items()}


def _taken(network: Network, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """For each output (classes,) the paths that the images take to it, each with its pixel squared."""
    gates: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        gates.append(x > 0)
        return x.clamp(min=0)

    with torch.no_grad():
        with _Relus(note):
            network.forward(weights, images)
        if len(gates) != sum(op.kind == "activation" for op in network.graph.ops):
            raise UserError("px follows the paths that ReLUs let through; this network has other activations")
        kept = {name: (weight != 0).double() for name, weight in weights.items()}
        through = iter(gates)
        with _Relus(lambda x: x * next(through)):
            return network.absolute_forward(kept, images.double() ** 2).sum(0)


class _Relus(TorchFunctionMode):
    """Within it every ReLU is something else."""

    def __init__(self, instead: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._instead = instead

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in _RELUS:
            return self._instead(args[0] if args else kwargs["input"])
        return func(*args, **(kwargs or {}))
