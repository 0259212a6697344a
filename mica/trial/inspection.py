"""A mask layer by layer and in all."""

import math

from torch import Tensor, nn

from mica.compaction.flops import compact_flops
from mica.graph.layers import Layer, LayerGraph
from mica.graph.reachability import functional, live_outputs, node_share
from mica.masks import Masks
from mica.trial.record import LayerRow, MaskSummary


def inspect(graph: LayerGraph, model: nn.Module, masks: Masks) -> tuple[MaskSummary, tuple[LayerRow, ...]]:
    """What there is to say about masks of a network without training it."""
    paths = functional(graph, masks)
    layers = tuple(_layer_row(layer, masks[name], paths[name]) for name, layer in graph.layers.items())
    placed, with_path = masks.kept, paths.kept
    summary = MaskSummary(
        edges_total=graph.edges,
        edges_budget=sum(row.budget for row in layers),
        edges_placed=placed,
        edges_functional=with_path,
        corrected_ratio=graph.edges / with_path if with_path else None,
        functional_node_share=node_share(graph, paths),
        flops_dense=graph.flops(),
        flops_masked=graph.flops(masks.counts()),
        flops_compact=compact_flops(graph, model, masks),
        digest=masks.digest(),
        log10_nominal=math.log10(graph.edges / placed) if placed else None,
        outputs_reached=tuple(live_outputs(graph, masks)),
    )
    return summary, layers


def _layer_row(layer: Layer, mask: Tensor, paths: Tensor) -> LayerRow:
    placed = int(mask.sum())
    # Input nodes of a grouped convolution are told apart by group.
    nodes_in = mask.unflatten(0, (layer.groups, -1)).any(dim=1).sum()
    return LayerRow(
        name=layer.name,
        shape=layer.shape,
        edges=layer.edges,
        # `sparsify` has checked that every pruner places exactly what it was given.
        budget=placed,
        nodes_in=int(nodes_in),
        nodes_out=int(mask.flatten(1).any(dim=1).sum()),
        placed=placed,
        functional=int(paths.sum()),
    )


def collapsed(summary: MaskSummary) -> bool:
    """Whether no edge is functional: a result to be recorded, not to be trained."""
    return summary.edges_functional == 0
