"""The kept edges of one layer, and what signal does in them: densely at first, as a list once few are left.

Shapes: the layer has R outputs, each of which reads K input nodes at P pixels; edges are numbered
output · K + node, as in the flattened weight. Convolutions in G groups have R / G outputs a group.
"""

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mica.graph.layers import Layer

_LIST_COST, _WIDE_LIST_COST = 3, 6
"""A list of edges costs about so many times a dense matrix, edge by edge: at few pixels, and at many."""
_SMALL = 1 << 15
"""Up to so many edges a layer's time goes into calls."""
_FEW = 16
"""So many pixels are few."""


class KeptEdges(Protocol):
    """Edges of a layer, ascending, and the last scores found for them: weight × gradient."""

    kept: Tensor
    """bool (edges,): False for those pruned since; their weights and scores are 0 from `thinned` on."""
    scores: Tensor
    """float64 (edges,)."""

    def forward(self, nodes: Tensor) -> Tensor:
        """Inputs (G, K, P) → outputs (R, P), or (G, R / G, P)."""
        ...

    def backward(self, nodes: Tensor, gradient: Tensor) -> Tensor:
        """Gradient of the outputs → of the inputs; leaves the scores."""
        ...

    def thinned(self) -> "KeptEdges":
        """The same without the weights of the pruned edges."""
        ...

    def mask(self) -> Tensor:
        """bool (R · K,): all edges of the layer."""
        ...


class DenseEdges:
    """All edges of a layer; the pruned ones are zeros."""

    def __init__(self, weight: Tensor, groups: int, pixels: int) -> None:
        self._list_cost = _LIST_COST if pixels <= _FEW else _WIDE_LIST_COST
        self._weight = weight.flatten(1).unflatten(0, (groups, -1))
        self._scores = torch.zeros_like(self._weight)
        self.kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
        self.scores = self._scores.view(-1)

    def forward(self, nodes: Tensor) -> Tensor:
        return _products(self._weight, nodes)

    def backward(self, nodes: Tensor, gradient: Tensor) -> Tensor:
        gradient = gradient.reshape(len(self._weight), -1, gradient.shape[-1])
        _products(gradient, nodes.mT, out=self._scores).mul_(self._weight)
        # Quicker than the product with the transposed weight, which is far larger.
        return _products(gradient.mT, self._weight).mT

    def thinned(self) -> KeptEdges:
        edges = len(self.kept)
        few = edges > _SMALL and int(self.kept.count_nonzero()) * self._list_cost < edges
        if few and self.kept.device.type == "cpu" and (listed := _listed(self._weight)):
            listed.kept.copy_(self.kept)
            return listed.thinned()
        weights = self._weight.view(-1)
        if weights.device.type == "cpu":  # torch would make floats of all flags first
            np.multiply(weights.numpy(), self.kept.numpy(), out=weights.numpy())
        else:
            weights.mul_(self.kept)
        return self

    def mask(self) -> Tensor:
        return self.kept


def _products(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Of two batches of matrices; a batch of one is quicker as one."""
    if out is None:
        out = a.new_empty(len(a), a.shape[1], b.shape[2])
    if len(a) == 1:
        torch.mm(a[0], b[0], out=out[0])
        return out
    return torch.bmm(a, b, out=out)


def _listed(weight: Tensor) -> KeptEdges | None:
    """All edges of a weight (G, R / G, K) as a list; None where there is no numba."""
    try:
        from mica.pruners.scores.listed_edges import ListedEdges
    except ImportError:
        return None
    return ListedEdges.of(weight)


class _Flow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, edges: KeptEdges) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(nodes)
        return edges.forward(nodes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return ctx.edges.backward(*ctx.saved_tensors, gradient.contiguous()), None


def flow(x: Tensor, layer: Layer, edges: KeptEdges) -> Tensor:
    """A layer's outputs for a batch of one image, without its bias; going back leaves the edges' scores."""
    if layer.is_conv:
        x = _unfold(layer, x)
    nodes = x.reshape(layer.groups, -1, layer.positions)
    out: Tensor = _Flow.apply(nodes, edges)  # type: ignore[no-untyped-call]
    return out.view(1, *layer.output_shape)


def _unfold(layer: Layer, x: Tensor) -> Tensor:
    """What each input node of a convolution reads for each output pixel: (1, nodes, pixels) of one image."""
    padding = layer.padding
    if padding == "same":  # an odd sum of both sides' padding has the larger half right and below
        rows, columns = (d * (k - 1) for d, k in zip(layer.dilation, layer.shape[2:], strict=True))
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    sides = (0, 0) if isinstance(padding, str) else padding
    return F.unfold(x, layer.shape[2:], layer.dilation, sides, layer.stride)
