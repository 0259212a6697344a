"""LayerGraph: the prunable layers of any network, and how signal gets from one to the next."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a graph is plain data: whoever only reads one does not wait for torch
    from torch import fx

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One prunable layer: a 2-d convolution or a linear layer. Its edges are its weight's scalars."""

    name: str
    """The module's path in the network."""
    shape: Shape
    """Of the weight: (C_out, C_in / groups, k_h, k_w), or (out, in) for a linear layer."""
    input_shape: Shape
    """Of one image's input: (C_in, H, W), or (features,)."""
    output_shape: Shape
    """Of one image's output: (C_out, H', W'), or (features,)."""
    stride: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def is_conv(self) -> bool:
        return len(self.shape) == 4

    @property
    def edges(self) -> int:
        """Number of edges when dense."""
        return math.prod(self.shape)

    @property
    def positions(self) -> int:
        """Pixels of the output map: how often one image uses each edge, borders included."""
        return math.prod(self.output_shape[1:])


PASS_KINDS = frozenset({"batch_norm", "activation", "dropout", "identity"})
"""Operations whose output unit is fed by the input unit of the same place, and by no other."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation of the traced network, in execution order.

    `kind` is one of input, layer, pool, adaptive_pool, flatten, add, cat, output, or of `PASS_KINDS`.
    """

    kind: str
    name: str
    """The module's path, or the function's name where no module stands behind it."""
    is_module: bool = False
    """Whether `name` is a module's path."""
    inputs: tuple[int, ...]
    """Indices of the operations whose outputs it reads."""
    shape: Shape
    """Of one image's output."""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Traced:
    """What torch's tracer saw of the network: it can be run, and rebuilt over other modules."""

    graph: "fx.Graph"
    op_of: Mapping[str, int]
    """Name of a node → index of the last operation that it became."""


@dataclass(frozen=True)
class LayerGraph:
    """A network as its prunable layers and the operations that wire them together."""

    layers: Mapping[str, Layer]
    """Name → layer, in execution order."""
    ops: tuple[Op, ...]
    """All operations; every one stands after those it reads. The last is the output."""
    input_shape: Shape
    """Of one image: (channels, height, width), or (features,)."""
    traced: Traced | None = field(default=None, repr=False, compare=False)
    """None after pickling, or where no tracer made the graph (`mica.graph.tracing.traced`)."""
    consumers: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    """For each operation the indices of those that read it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))
        readers: list[list[int]] = [[] for _ in self.ops]
        for index, op in enumerate(self.ops):
            for source in op.inputs:
                readers[source].append(index)
        object.__setattr__(self, "consumers", tuple(tuple(r) for r in readers))

    def __reduce__(self) -> tuple[object, ...]:
        # Without what the tracer saw: that may name functions which cannot be pickled.
        return LayerGraph, (dict(self.layers), self.ops, self.input_shape)

    @property
    def edges(self) -> int:
        """All edges of the dense network."""
        return sum(layer.edges for layer in self.layers.values())

    @property
    def shapes(self) -> dict[str, Shape]:
        """Layer name → weight shape."""
        return {name: layer.shape for name, layer in self.layers.items()}

    def flops(self, edges: Mapping[str, int] | None = None) -> int:
        """Floating-point operations of one image's forward pass, convolutions and linear layers.

        A multiplication and an addition for each edge at each output pixel; normalisation and
        activations are left out. `edges` are the layers' kept edges, all by default.
        """
        return sum(
            2 * layer.positions * (layer.edges if edges is None else edges[name])
            for name, layer in self.layers.items()
        )
