"""Pruning at initialisation: masks for any network, exactly, and the sparse network trained.

    graph = mica.trace(model, (3, 32, 32))
    masks = mica.sparsify(model, "mica-igq", ratio=10**4.5, seed=0, graph=graph)
    mica.functional(graph, masks)      # the edges on a path from input to output
    mica.apply(model, masks)           # zero the rest, and keep it zero while the model trains

Registries, each with `names()` and `get(name)`: `mica.pruners.pruners`, `mica.models.models`,
`mica.data.datasets`, `mica.pruning.distributions.distributions`. One whole trial: `mica.trial.run`.
"""

import importlib
from typing import TYPE_CHECKING

from mica import imports

if TYPE_CHECKING:
    from mica.compaction import Compact, compact
    from mica.errors import DataError, NumericError, TraceError, UnknownName, UserError
    from mica.exporting import Exported, export, load_exported
    from mica.graph.layers import Layer, LayerGraph
    from mica.graph.reachability import functional, functional_node_share
    from mica.graph.tracing import trace
    from mica.masks import Masks, apply
    from mica.pruning.sparsify import sparsify

__version__ = "0.1.0"

imports.install()

__all__ = [
    "Compact", "DataError", "Exported", "Layer", "LayerGraph", "Masks", "NumericError", "TraceError",
    "UnknownName", "UserError", "apply", "compact", "export", "functional", "functional_node_share",
    "load_exported", "sparsify", "trace",
]  # fmt: skip

_HOMES = {
    "mica.compaction": ("Compact", "compact"),
    "mica.errors": ("DataError", "NumericError", "TraceError", "UnknownName", "UserError"),
    "mica.exporting": ("Exported", "export", "load_exported"),
    "mica.graph.layers": ("Layer", "LayerGraph"),
    "mica.masks": ("Masks", "apply"),
    "mica.graph.reachability": ("functional", "functional_node_share"),
    "mica.pruning.sparsify": ("sparsify",),
    "mica.graph.tracing": ("trace",),
}


_MODULES = ("data", "models", "pruners", "pruning", "trial")


def __getattr__(name: str) -> object:
    """Load on first use, so that `import mica` is quick."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    if name in _MODULES:
        return importlib.import_module(f"mica.{name}")
    raise AttributeError(f"module 'mica' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
