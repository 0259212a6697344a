"""The kept edges of a layer as a list, computed by compiled loops over them."""

import math

import numpy as np
import torch
from torch import Tensor

from mica.machine_code import threads_to_use
from mica.pruners.scores.edge_kernels import (
    Floats,
    Ints,
    count_kept,
    scores_and_gradients,
    take_kept,
    weighted_sums,
)

_PARTS = 4
"""Of the rows, for as many threads at most; each has a copy of the nodes' gradient."""


class ListedEdges:
    """A list of edges, output by output."""

    def __init__(self, starts: Ints, columns: Ints, weights: Floats, shape: tuple[int, ...]) -> None:
        """`shape`: groups, outputs of a group, input nodes of a group; for the rest see `edge_kernels`."""
        self._starts, self._columns, self._weights, self._shape = starts, columns, weights, shape
        self._found = np.zeros_like(weights)
        self.kept = torch.ones(len(weights), dtype=torch.bool)
        self.scores = torch.from_numpy(self._found)

    @classmethod
    def of(cls, weight: Tensor) -> "ListedEdges":
        """All edges of a weight (G, R / G, K)."""
        groups, outputs, inputs = weight.shape
        rows = np.arange(groups * outputs)
        columns = np.arange(inputs, dtype=np.int32) + rows[:, None].astype(np.int32) // outputs * inputs
        starts = np.arange(len(rows) + 1) * inputs
        return cls(starts, columns.ravel(), weight.contiguous().view(-1).numpy(), tuple(weight.shape))

    def forward(self, nodes: Tensor) -> Tensor:
        threads_to_use()
        groups, outputs, _ = self._shape
        out = torch.empty(groups * outputs, nodes.shape[-1], dtype=nodes.dtype)
        weighted_sums(self._starts, self._columns, self._weights, _flat(nodes), out.numpy())
        return out

    def backward(self, nodes: Tensor, gradient: Tensor) -> Tensor:
        threads_to_use()
        shares = torch.empty(_PARTS, *nodes.flatten(0, 1).shape, dtype=nodes.dtype)
        scores_and_gradients(
            self._starts, self._columns, self._weights, _flat(nodes), _flat(gradient), self._found,
            shares.numpy(),
        )  # fmt: skip
        return shares.sum(0).view(nodes.shape)

    def thinned(self) -> "ListedEdges":
        kept = self.kept.numpy()
        counts = np.empty(len(self._starts) - 1, np.int64)
        count_kept(self._starts, kept, counts)
        starts = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
        if starts[-1] == len(kept):
            return self
        columns, weights = np.empty(starts[-1], np.int32), np.empty(starts[-1])
        take_kept(self._starts, self._columns, self._weights, kept, starts, columns, weights)
        return ListedEdges(starts, columns, weights, self._shape)

    def mask(self) -> Tensor:
        _, outputs, inputs = self._shape
        rows = np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))
        mask = np.zeros(math.prod(self._shape), dtype=bool)
        mask[rows * inputs + self._columns - rows // outputs * inputs] = self.kept.numpy()
        return torch.from_numpy(mask)


def _flat(values: Tensor) -> Floats:
    """(…, P) as (rows, P)."""
    return values.detach().reshape(-1, values.shape[-1]).contiguous().numpy()
