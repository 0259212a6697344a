"""Pruning at initialisation: masks for any network, exactly, and the sparse network trained.

    graph = mica.trace(model, (3, 32, 32))
    masks = mica.sparsify(model, "mica-igq", ratio=10**4.5, seed=0, graph=graph)
    mica.functional(graph, masks)      # the edges on a path from input to output
    mica.apply(model, masks)           # zero the rest, and keep it zero while the model trains

Registries, each with `names()` and `get(name)`: `mica.pruners.pruners`, `mica.distributions.distributions`,
`mica.models.models`, `mica.data.datasets`.
"""

from mica.errors import DataError, NumericError, TraceError, UnknownName, UserError
from mica.graph import Layer, LayerGraph
from mica.masks import Masks, apply
from mica.reachability import functional, functional_node_share
from mica.sparsify import sparsify
from mica.tracing import trace

__all__ = [
    "DataError", "Layer", "LayerGraph", "Masks", "NumericError", "TraceError", "UnknownName", "UserError",
    "apply", "functional", "functional_node_share", "sparsify", "trace",
]  # fmt: skip
