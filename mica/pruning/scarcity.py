"""Scarcity: a ratio that leaves a network fewer edges than it has layers."""

from dataclasses import dataclass

from mica.graph.layers import LayerGraph
from mica.pruning.budgets import Rounding, target_edges


@dataclass(frozen=True)
class Scarcity:
    """What is left, and what becomes of it whatever the method."""

    edges: int
    layers: int
    collapses: bool
    """Whether even the shortest path from input to output has more layers than there are edges."""

    @property
    def outcome(self) -> str:
        """In words."""
        return "everything collapses" if self.collapses else "some layers stay empty"

    def __str__(self) -> str:
        """`5 edges for 14 layers: everything collapses`."""
        edges = "1 edge" if self.edges == 1 else f"{self.edges} edges"
        return f"{edges} for {self.layers} layers: {self.outcome}"


def scarcity(graph: LayerGraph, ratio: float, rounding: Rounding = "floor") -> Scarcity | None:
    """What a ratio leaves where that is fewer edges than layers; None where it is enough."""
    edges, layers = target_edges(graph.edges, ratio, rounding), len(graph.layers)
    if edges >= layers:
        return None
    return Scarcity(edges, layers, collapses=edges < shortest_path(graph))


def shortest_path(graph: LayerGraph) -> int:
    """Layers on the path from input to output that has the fewest of them."""
    passed: list[int] = []
    for op in graph.ops:
        passed.append(min((passed[index] for index in op.inputs), default=0) + (op.kind == "layer"))
    return passed[-1]
