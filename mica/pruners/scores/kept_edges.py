"""The kept edges of one layer, and what signal does in them: densely at first, as a list once few are left.

Shapes: the layer has R outputs, each of which reads K input nodes at P pixels; edges are numbered
output · K + node, as in the flattened weight. Convolutions in G groups have R / G outputs a group.
"""

import math
import warnings
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mica.graph.layers import Layer

_SPARSE_COST = 8
"""A list of edges costs about so many times a dense matrix, edge by edge."""
_SMALL = 1 << 15
"""Up to so many edges a layer's time goes into calls."""
_FEW = 64
"""Pixels up to which a product with the transposed weight is quicker transposed as a whole."""


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

    def __init__(self, weight: Tensor, groups: int) -> None:
        self._weight = weight.flatten(1).unflatten(0, (groups, -1))
        self._scores = torch.zeros_like(self._weight)
        self.kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
        self.scores = self._scores.view(-1)

    def forward(self, nodes: Tensor) -> Tensor:
        return torch.bmm(self._weight, nodes)

    def backward(self, nodes: Tensor, gradient: Tensor) -> Tensor:
        torch.bmm(gradient, nodes.mT, out=self._scores).mul_(self._weight)
        if gradient.shape[-1] > _FEW:
            return torch.bmm(self._weight.mT, gradient)
        return torch.bmm(gradient.mT, self._weight).mT

    def thinned(self) -> KeptEdges:
        self._weight.view(-1).mul_(self.kept)
        edges = len(self.kept)
        few = edges > _SMALL and int(self.kept.count_nonzero()) * _SPARSE_COST < edges
        # Elsewhere sparse products are missing, or add in an order that changes from run to run.
        if few and self.kept.device.type == "cpu" and torch.backends.mkl.is_available():
            kept = self.kept.nonzero().squeeze(1)
            return SparseEdges(kept, self._weight.view(-1)[kept], self._weight.shape)
        return self

    def mask(self) -> Tensor:
        return self.kept


class SparseEdges:
    """A list of edges, as matrices in compressed rows."""

    def __init__(self, edges: Tensor, weights: Tensor, shape: torch.Size) -> None:
        groups, outputs, inputs = shape
        self._edges, self._shape = edges, shape
        self.kept = torch.ones_like(edges, dtype=torch.bool)
        row = edges // inputs
        column = edges % inputs + row // outputs * inputs
        size = (groups * outputs, groups * inputs)
        self._by_column = torch.argsort(column, stable=True)
        self.scores = torch.zeros_like(weights)
        self._matrix = _compressed(row, column, weights, size)
        self._products = _compressed(row, column, torch.zeros_like(weights), size)
        self._weights = self._matrix.values()
        self._transpose = _compressed(
            column[self._by_column], row[self._by_column], weights[self._by_column], size[::-1]
        )

    def forward(self, nodes: Tensor) -> Tensor:
        out: Tensor = self._matrix @ nodes.flatten(0, 1)
        return out

    def backward(self, nodes: Tensor, gradient: Tensor) -> Tensor:
        columns = nodes.flatten(0, 1).mT
        torch.sparse.sampled_addmm(self._products, gradient, columns, beta=0.0, out=self._products)
        torch.mul(self._products.values(), self._weights, out=self.scores)
        result: Tensor = self._transpose @ gradient
        return result.view(nodes.shape)

    def thinned(self) -> KeptEdges:
        if int(self.kept.count_nonzero()) * 2 < len(self.kept):
            return SparseEdges(self._edges[self.kept], self._weights[self.kept], self._shape)
        self._weights.mul_(self.kept)
        self._transpose.values().copy_(self._weights[self._by_column])
        return self

    def mask(self) -> Tensor:
        mask = torch.zeros(math.prod(self._shape), dtype=torch.bool)
        mask[self._edges[self.kept]] = True
        return mask


def _compressed(row: Tensor, column: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """A sparse matrix of entries that are sorted by row."""
    starts = torch.searchsorted(row, torch.arange(size[0] + 1))
    with warnings.catch_warnings():  # that sparse matrices are in beta, and their indices unchecked
        warnings.simplefilter("ignore", UserWarning)
        matrix: Tensor = torch.sparse_csr_tensor(starts.int(), column.int(), values, size)
    return matrix


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
