"""Move edges that lie on no path to places where they lie on one."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mica.channels import Ids
from mica.graph import LayerGraph
from mica.masks import Masks
from mica.reachability import openings


def repair(
    graph: LayerGraph,
    masks: Mapping[str, Tensor],
    live: list[Tensor] | None,
    outputs: Mapping[str, Ids],
    rng: np.random.Generator,
) -> Masks:
    """Masks of the same budget with as many functional edges as moving them within layers can give.

    An edge without a path carries nothing, so taking it away breaks no other; one put into an opening
    is functional at once and can only open more. So each round gains, and the last finds nothing left
    to move or no opening to move to.

    Args:
        live: `mica.reachability.signal` of the masks.
        outputs: layer name → the outputs the layer was meant to use; openings there are taken first.
    """
    masks = dict(masks)
    while True:
        moved = 0
        for name, open_places in openings(graph, masks, live).items():
            idle = torch.nonzero((masks[name] & ~open_places).flatten()).squeeze(1).numpy()
            if len(idle):
                free = (open_places & ~masks[name]).flatten(1).numpy()
                target = _targets(free, outputs[name], len(idle), rng)
                mask = masks[name].flatten().clone()
                mask[torch.from_numpy(rng.permutation(idle)[: len(target)])] = False
                mask[torch.from_numpy(target)] = True
                masks[name] = mask.view_as(masks[name])
                moved += len(target)
        if not moved:
            return Masks(masks)
        live = None


def _targets(free: Ids, outputs: Ids, wanted: int, rng: np.random.Generator) -> Ids:
    """Up to `wanted` random openings, those of the chosen outputs before any other."""
    chosen = np.zeros(len(free), dtype=bool)
    chosen[outputs] = True
    found = [rng.permutation(np.flatnonzero(free & rows[:, None])) for rows in (chosen, ~chosen)]
    return np.concatenate(found)[:wanted]
