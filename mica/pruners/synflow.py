"""SynFlow: the edges that carry the most of the network's path norm stay (Tanaka et al. 2020)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mica.graph.layers import Layer
from mica.pruners.kinds import ranking
from mica.pruners.scores.kept_edges import DenseEdges, KeptEdges, flow
from mica.pruners.scores.scored_network import Network


class Unpruned:
    """The edges that SynFlow has not pruned yet: the fewer they are, the quicker they are scored."""

    def __init__(self, network: Network, weights: Mapping[str, Tensor]) -> None:
        self._network = network
        layers = network.graph.layers
        self._edges: dict[str, KeptEdges] = {
            name: DenseEdges(weight.abs().double(), layers[name].groups, layers[name].positions)
            for name, weight in weights.items()
        }

    @property
    def kept(self) -> dict[str, Tensor]:
        return {name: edges.kept for name, edges in self._edges.items()}

    def scores(self) -> dict[str, Tensor]:
        self._edges = {name: edges.thinned() for name, edges in self._edges.items()}
        network, layers = self._network, self._network.graph.layers
        weights = {
            name: _stand_in(layers[name], edges, network.device) for name, edges in self._edges.items()
        }
        image = torch.ones(1, *network.graph.input_shape, dtype=torch.float64, device=network.device)
        with torch.enable_grad():
            network.absolute_forward(weights, image.requires_grad_()).sum().backward()
        return {name: edges.scores for name, edges in self._edges.items()}

    def masks(self) -> dict[str, Tensor]:
        return {name: edges.mask() for name, edges in self._edges.items()}


def _remaining(network: Network) -> Unpruned:
    return Unpruned(network, network.weights())


@ranking("synflow", iterations=100, needs_images=False, remaining=_remaining, cost=2400)
def synflow(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w| ⊙ ∂R/∂|w|, R the summed output for an input of ones with every parameter made positive.

    In float64: R is a product over all layers and leaves float32's range in a deep, sparse network.
    Batch norm is in eval mode.
    """
    scores = Unpruned(network, weights).scores()
    return {name: score.view(weights[name].shape) for name, score in scores.items()}


class _StandIn(Tensor):
    """Instead of a layer's weight: convolutions and linear layers take its kept edges."""

    layer: Layer
    edges: KeptEdges

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in (F.conv2d, F.linear) and isinstance(args[1], cls):
            out = flow(args[0], args[1].layer, args[1].edges)
            return out if args[2] is None else out + args[2].view(-1, *[1] * (out.dim() - 2))
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def _stand_in(layer: Layer, edges: KeptEdges, device: torch.device) -> Tensor:
    # No dense weight is made: all its values are one NaN, should anything else read them.
    blank = torch.tensor(torch.nan, dtype=torch.float64, device=device).expand(layer.shape)
    weight = blank.as_subclass(_StandIn)
    weight.layer, weight.edges = layer, edges
    return weight
