"""SynFlow: the edges that carry the most of the network's path norm stay (Tanaka et al. 2020)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mica.graph import Layer
from mica.pruners.kept_edges import DenseEdges, KeptEdges, flow
from mica.pruners.network import Network
from mica.pruners.registry import ranking


class Unpruned:
    """The edges that SynFlow has not pruned yet: the fewer they are, the quicker they are scored."""

    def __init__(self, network: Network, weights: Mapping[str, Tensor]) -> None:
        self._network = network
        layers = network.graph.layers
        self._edges: dict[str, KeptEdges] = {
            name: DenseEdges(weight.abs().double(), layers[name].groups) for name, weight in weights.items()
        }

    @property
    def kept(self) -> dict[str, Tensor]:
        return {name: edges.kept for name, edges in self._edges.items()}

    def scores(self) -> dict[str, Tensor]:
        self._edges = {name: edges.thinned() for name, edges in self._edges.items()}
        network, layers = self._network, self._network.graph.layers
        # No dense weights are made: these stand for them, and are NaN should anything else read them.
        blank = torch.tensor(torch.nan, dtype=torch.float64, device=network.device)
        weights = {name: blank.expand(layer.shape) for name, layer in layers.items()}
        image = blank.new_ones(1, *network.graph.input_shape).requires_grad_()
        by_weight = {id(weight): (layers[name], self._edges[name]) for name, weight in weights.items()}
        with _ThroughKeptEdges(by_weight), torch.enable_grad():
            network.absolute_forward(weights, image).sum().backward()
        return {name: edges.scores for name, edges in self._edges.items()}

    def masks(self) -> dict[str, Tensor]:
        return {name: edges.mask() for name, edges in self._edges.items()}


def _remaining(network: Network) -> Unpruned:
    return Unpruned(network, network.weights())


@ranking("synflow", iterations=100, needs_images=False, remaining=_remaining)
def synflow(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w| ⊙ ∂R/∂|w|, R the summed output for an input of ones with every parameter made positive.

    In float64: R is a product over all layers and leaves float32's range in a deep, sparse network.
    Batch norm is in eval mode, whatever mode other scores use.
    """
    scores = Unpruned(network, weights).scores()
    return {name: score.view(weights[name].shape) for name, score in scores.items()}


class _ThroughKeptEdges(TorchFunctionMode):
    """While active, convolutions and linear layers with one of the given weights take the given edges."""

    def __init__(self, by_weight: Mapping[int, tuple[Layer, KeptEdges]]) -> None:
        super().__init__()
        self._by_weight = by_weight

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in (F.conv2d, F.linear) and id(args[1]) in self._by_weight:
            out = flow(args[0], *self._by_weight[id(args[1])])
            return out if args[2] is None else out + args[2].view(-1, *[1] * (out.dim() - 2))
        return func(*args, **(kwargs or {}))
