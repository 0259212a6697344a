"""Compiled code of lists of edges: rows of edges by output, each with its column, the input node.

Shapes: R outputs, N input nodes, P pixels, E edges; `starts` is (R + 1,), an output's edges are those from
starts[r] up to the next.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from mica.machine_code import kernel, threads_to_use

Floats = NDArray[np.float64]
Ints = NDArray[Any]
"""`starts` int64, `columns` int32."""
Values = NDArray[Any]
"""float32 or float64 (values,)."""
_PARTS = 8
"""Of a pass over many values, for as many threads at most."""
_BLOCK = 2048
"""Values that stay in cache from one loop to the next."""


@kernel
def weighted_sums(starts: Ints, columns: Ints, weights: Floats, nodes: Floats, out: Floats) -> None:
    """out (R, P) = the sums of what edges read of nodes (N, P), weighted."""
    for row in prange(len(out)):
        total = out[row]
        total[:] = 0
        for edge in range(starts[row], starts[row + 1]):
            weight, node = weights[edge], nodes[columns[edge]]
            for p in range(len(total)):
                total[p] += weight * node[p]


@kernel
def scores_and_gradients(
    starts: Ints, columns: Ints, weights: Floats, nodes: Floats, gradient: Floats, scores: Floats,
    shares: Floats,
) -> None:  # fmt: skip
    """Each edge's score, weight × its gradient, and the nodes' gradient, from that of the outputs (R, P).

    The rows are taken in some equal parts, each of which adds up a share (N, P) of the nodes' gradient: so
    the sums are the same whatever the number of threads.
    """
    rows, parts = len(gradient), len(shares)
    for index in prange(parts):
        share = shares[index]
        share[:] = 0
        for row in range(index * rows // parts, (index + 1) * rows // parts):
            out = gradient[row]
            for edge in range(starts[row], starts[row + 1]):
                weight, node, total = weights[edge], nodes[columns[edge]], share[columns[edge]]
                product = 0.0
                for p in range(len(out)):
                    product += node[p] * out[p]
                    total[p] += weight * out[p]
                scores[edge] = weight * product


@kernel
def count_kept(starts: Ints, kept: NDArray[np.bool_], counts: Ints) -> None:
    """counts (R,): how many edges of each row are kept."""
    for row in prange(len(counts)):
        count = 0
        for edge in range(starts[row], starts[row + 1]):
            count += kept[edge]
        counts[row] = count


@kernel
def take_kept(
    starts: Ints, columns: Ints, weights: Floats, kept: NDArray[np.bool_], new_starts: Ints,
    new_columns: Ints, new_weights: Floats,
) -> None:  # fmt: skip
    """The kept edges' columns and weights, packed."""
    for row in prange(len(starts) - 1):
        at = new_starts[row]
        for edge in range(starts[row], starts[row + 1]):
            if kept[edge]:
                new_columns[at] = columns[edge]
                new_weights[at] = weights[edge]
                at += 1


def between(values: Values, low: float, high: float) -> tuple[Tensor, int]:
    """The values above `low` and up to `high`, and how many are above that."""
    threads_to_use()
    near, found, above = np.empty_like(values), np.empty(_PARTS, np.int64), np.empty(_PARTS, np.int64)
    _between(values, low, high, near, found, above)
    starts = np.arange(_PARTS) * len(values) // _PARTS
    parts = [near[start : start + count] for start, count in zip(starts, found, strict=True)]
    return torch.from_numpy(np.concatenate(parts)), int(above.sum())


@kernel
def _between(values: Values, low: float, high: float, near: Values, found: Ints, above: Ints) -> None:
    """Part by part; the values of each go to where the part begins in `near`.

    Without a branch in its loops: which way a score would go is as good as random.
    """
    for part in prange(len(found)):
        begin, end = part * len(values) // len(found), (part + 1) * len(values) // len(found)
        out, at, higher = near[begin:end], np.int64(0), np.int64(0)
        for start in range(begin, end, _BLOCK):
            block = values[start : min(start + _BLOCK, end)]
            for i in range(len(block)):
                higher += np.int64(block[i] > high)
            for i in range(len(block)):
                out[at] = block[i]
                at += np.int64((block[i] > low) & (block[i] <= high))
        found[part], above[part] = at, higher
