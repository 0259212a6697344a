"""Which form: the smallest and fastest that computes the same."""

from torch import nn

from mica.compaction import compact
from mica.compaction.needed import refusal
from mica.compaction.places import kept_places
from mica.edgewise import edgewise
from mica.graph.layers import LayerGraph
from mica.training.forms.edge_by_edge import edge_by_edge
from mica.training.forms.form import Body, Form
from mica.training.forms.plain import plain
from mica.training.forms.small import compacted
from mica.training.state import TrainState

_NEARLY_DENSE = 0.9
"""From this share of the edges on, a compact network is not worth its own code."""


def enter(
    model: nn.Module,
    graph: LayerGraph,
    state: TrainState,
    device: str,
    *,
    smaller: bool = True,
    by_edges: bool = True,
) -> Form:
    """A form that trains a network from a state on.

    With `smaller` that is its compact network, on a CPU with the sparse convolutions edge by edge; the
    network itself where it cannot be compacted, or hardly, or is to stay as it is.

    Args:
        model: the full network at its initial weights; it is not changed, nor is anything shared with it.
        graph: the network's, from `mica.trace`.
        state: to go on from, in whatever form it was left.
        device: where to train.
        smaller: whether another network may stand for it.
        by_edges: whether that may be one that trains edge by edge, which takes a machine half a minute the
            first time (`mica.edgewise.compiling`).
    """
    return Form(_body(model, graph, state, device, smaller, by_edges), model, state)


def _body(
    model: nn.Module, graph: LayerGraph, state: TrainState, device: str, smaller: bool, by_edges: bool
) -> Body:
    if not smaller or refusal(graph, model):
        places = kept_places(graph, model, state.masks, state.tensors)
        return plain(model, state.masks, places, device)
    small = compact(model, state.masks, graph, state.tensors)
    sparse = edgewise(small) if device == "cpu" and by_edges else None
    if sparse:
        return edge_by_edge(sparse)
    if small.masks.total > _NEARLY_DENSE * state.masks.total:
        return plain(model, state.masks, small.places, device)
    return compacted(small, device)
