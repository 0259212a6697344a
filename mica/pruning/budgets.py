"""Budgets: whole numbers of edges, layer by layer, from a compression ratio and a distribution."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from mica.apportionment import apportion
from mica.errors import UserError
from mica.named import Named
from mica.options import call, check_choice, takes
from mica.pruning.distributions import Shapes, distributions
from mica.registry import place_of
from mica.wording import described

Budget = dict[str, int]
"""Layer name → number of edges that the layer keeps."""

BudgetKind = Literal["nominal", "corrected"]
"""The distribution's own budget, or the functional counts of the mask that a method is compared with."""

Rounding = Literal["floor", "exact"]
"""`floor` rounds each layer's budget down, as the published results did; `exact` meets the total."""

_EXCESS = 1e-9
"""By so much a density may pass 1: float arithmetic, not a mistake."""


def allocate(
    shapes: Shapes,
    distribution: str | Named,
    ratio: float,
    rounding: Rounding = "floor",
    pixels: Mapping[str, int] | None = None,
) -> Budget:
    """Each layer's budget under a distribution at a compression ratio.

    `floor` rounds each layer down on its own, as the published results did, so the total falls a
    little short of all/ratio. `exact` makes the total exactly round(all/ratio) by largest remainders,
    with at least one edge in every layer as long as the total allows it. `pixels` are those of each layer's
    output map, for a distribution that asks for them.

    Raises:
        UserError: the ratio is below 1 or not finite, the distribution asks for pixels and there are none, or
            it gives something else than a density from 0 to 1 for every layer.
        UnknownName: no such distribution.
    """
    check_ratio(ratio)
    check_choice("rounding", rounding, Rounding)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if ratio == 1:  # not left to the rounding of a distribution's arithmetic
        return sizes
    densities = _densities(distributions.choose(distribution), shapes, ratio, pixels)
    if rounding == "exact":
        weights = {name: size * densities[name] for name, size in sizes.items()}
        return apportion(sizes, weights, target_edges(sum(sizes.values()), ratio, "exact"))
    return {name: math.floor(size * densities[name]) for name, size in sizes.items()}


def _densities(
    distribution: Named, shapes: Shapes, ratio: float, pixels: Mapping[str, int] | None
) -> Mapping[str, float]:
    """What the distribution's function gives, or a complaint about that function."""
    function = distributions.get(distribution.name)
    who = f"distribution {distribution.text!r}{place_of(function)}"
    if pixels is None and takes(function, "pixels"):
        raise UserError(f"{who} needs each layer's pixels")
    given = {"shapes": shapes, "ratio": ratio, "pixels": pixels}
    found: Any = call(function, given, distribution.all_options)
    if not isinstance(found, Mapping):
        raise UserError(f"{who} must return layer name → density, found {described(found)}")
    for name in shapes:
        density = found.get(name)
        try:
            fits = density is not None and 0 <= float(density) <= 1 + _EXCESS  # NaN is neither
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise UserError(f"{who} gave layer {name!r} the density {density}; allowed are 0 to 1")
    return {name: min(1.0, float(found[name])) for name in shapes}


def target_edges(edges: int, ratio: float, rounding: Rounding) -> int:
    """How many of a network's edges a ratio keeps: N − ⌊N(1 − 1/ratio)⌋, or N/ratio rounded half up."""
    if rounding == "exact":
        return math.floor(edges / ratio + 0.5)
    return edges - math.floor(edges * (1 - 1 / ratio))


def check_ratio(ratio: float) -> None:
    """Raises `UserError` unless the compression ratio is a finite number of at least 1."""
    if math.isfinite(ratio) and ratio >= 1:
        return
    message = f"found the ratio {ratio:g}; a compression ratio (all / kept edges) is at least 1"
    if 0 < ratio < 1:
        message += f": 10 keeps a tenth, and {1 / ratio:.4g} keeps a share of {ratio:g}"
    raise UserError(message)
