"""Share a whole number out over parts, in proportion and within bounds."""

import math
from collections.abc import Mapping
from typing import TypeVar

Part = TypeVar("Part")


def apportion(sizes: Mapping[Part, int], weights: Mapping[Part, float], total: int) -> dict[Part, int]:
    """Whole shares that sum to `total`, near proportional to `weights`, by largest remainders.

    No share passes its part's size, and each is at least 1 as long as there is one for every part.
    Equal remainders go to the earlier part.

    Raises:
        ValueError: the sizes together do not hold the total.
    """
    if total > sum(sizes.values()):
        raise ValueError(f"{total} do not fit into {sum(sizes.values())}")
    at_least = 1 if total >= len(sizes) else 0
    quotas = _fill(sizes, weights, total, at_least)
    shares = {part: max(at_least, math.floor(quota)) for part, quota in quotas.items()}
    open_parts = [part for part in sizes if shares[part] < sizes[part]]
    open_parts.sort(key=lambda part: shares[part] - quotas[part])  # stable, so ties keep their order
    for part in open_parts[: total - sum(shares.values())]:
        shares[part] += 1
    assert sum(shares.values()) == total
    return {part: shares[part] for part in sizes}


def _fill(
    sizes: Mapping[Part, int], weights: Mapping[Part, float], total: int, at_least: int
) -> dict[Part, float]:
    """Shares proportional to `weights`, within [at_least, size] each, that sum to `total`."""
    fixed: dict[Part, float] = {}
    while True:
        free = [part for part in sizes if part not in fixed]
        weight = sum(weights[part] for part in free)
        left = total - sum(fixed.values())
        # Parts without any weight share what the others leave, by size.
        by = weights if weight > 0 else sizes
        scale = left / (sum(by[part] for part in free) or 1)
        shares = {part: scale * by[part] for part in free}
        over = {part: float(sizes[part]) for part in free if shares[part] > sizes[part]}
        under = {part: float(at_least) for part in free if shares[part] < at_least}
        excess = sum(shares[p] - over[p] for p in over) - sum(under[p] - shares[p] for p in under)
        # Settling the heavier side first keeps the rest solvable: water-filling with two bounds.
        settled = over if excess > 0 else under if excess < 0 else {**over, **under}
        if not settled:
            return {**fixed, **shares}
        fixed |= settled
