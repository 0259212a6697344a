"""Move edges that lie on no path to places where they lie on one."""

from collections.abc import Mapping

import numpy as np
import torch

from mica.graph.channels import Ids
from mica.graph.layers import LayerGraph
from mica.graph.reachability import Bits, Bools, openings
from mica.masks import Masks
from mica.pruners.connection.draw import Draw, Weights


def repair(
    graph: LayerGraph,
    masks: Mapping[str, Bools],
    nodes: Mapping[str, Bits] | None,
    outputs: Mapping[str, Ids],
    rng: np.random.Generator,
    weights: Mapping[str, Weights | None],
) -> Masks:
    """Masks of the same budget with as many functional edges as moving them within layers can give.

    An edge without a path carries nothing, so taking it away breaks no other; one put into an opening
    is functional at once and can only open more. So each round gains, and the last finds nothing left
    to move or no opening to move to.

    Args:
        nodes: `mica.graph.reachability.input_nodes` of the masks.
        outputs: layer name → the outputs the layer was meant to use; openings there are taken first.
        weights: layer name → how much rather than others each input node is drawn (`weights_of`).
    """
    masks = dict(masks)
    while True:
        moved = 0
        for name, open_places in openings(graph, masks, nodes).items():
            idle = np.flatnonzero(masks[name] & ~open_places)
            if len(idle):
                free = (open_places & ~masks[name]).reshape(len(open_places), -1)
                target = _targets(free, outputs[name], len(idle), rng, weights[name])
                mask = masks[name].copy()
                np.put(mask, rng.permutation(idle)[: len(target)], False)
                np.put(mask, target, True)
                masks[name] = mask
                moved += len(target)
        if not moved:
            return Masks({name: torch.from_numpy(mask) for name, mask in masks.items()})
        nodes = None


def _targets(
    free: Bools, outputs: Ids, wanted: int, rng: np.random.Generator, weights: Weights | None
) -> Ids:
    """Up to `wanted` random openings, those of the chosen outputs before any other."""
    chosen = np.zeros(len(free), dtype=bool)
    chosen[outputs] = True
    # Each output reads the nodes of its own group.
    draw = Draw(rng, None if weights is None else weights.repeat(len(free) // len(weights), axis=0).ravel())
    found = [np.flatnonzero(free & rows[:, None]) for rows in (chosen, ~chosen)]
    return np.concatenate([places[draw.order(places)] for places in found])[:wanted]
