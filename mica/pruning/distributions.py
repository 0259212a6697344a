"""Distributions: how a compression ratio is shared out over the layers.

A distribution is a function of the layers' weight shapes and the ratio that gives each layer's density,
a float; what else it names is an option. `mica.pruning.budgets.allocate` turns densities into budgets, whole
numbers of edges. Register your own:

    @distribution("mine")
    def mine(shapes: Shapes, ratio: float, steepness: float = 1.0) -> Densities: ...

One that names `pixels` is given those of each layer's output map too.

Distributions that come from a ranking pruner's mask (snip, synflow, …) need a network, and take that pruner's
options (`mica.pruning.sparsify`).
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from mica.errors import UserError
from mica.options import LATER
from mica.registry import function_registry

Shapes = Mapping[str, tuple[int, ...]]
"""Layer name → weight shape, in execution order."""
Densities = dict[str, float]
"""Layer name → kept / all, from 0 to 1."""
Distribution = Callable[..., Densities]

Exponent = Annotated[float, Field(ge=-10, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]

DISTRIBUTION_INPUTS = ("shapes", "ratio", "pixels")
"""What a distribution is given of, as far as its signature names it."""

distributions = function_registry("distribution", DISTRIBUTION_INPUTS)


def distribution(name: str | None = None) -> Callable[[Distribution], Distribution]:
    """Decorator of a distribution; a user's own needs none. `name`: see `Registry.file`."""
    return lambda function: distributions.file(name, function, function)


@distribution("uniform")
def uniform(shapes: Shapes, ratio: float) -> Densities:
    """The same density for every layer."""
    return {name: 1 / ratio for name in shapes}


@distribution("uniform-plus")
def uniform_plus(shapes: Shapes, ratio: float) -> Densities:
    """First layer dense, last layer at least 20 % dense, the rest uniform (Gale et al. 2019).

    Where those two alone would exceed the ratio's edges, it is `uniform`.
    """
    sizes = _sizes(shapes)
    names = list(sizes)
    target = sum(sizes.values()) / ratio
    first, last = names[0], names[-1]
    densities = {first: 1.0}
    if last != first:
        rest = sum(sizes.values()) - sizes[first]
        density = (target - sizes[first]) / rest
        if density < 0.2:
            densities[last] = 0.2
    free = [name for name in names if name not in densities]
    left = target - sum(sizes[name] * density for name, density in densities.items())
    if left < 0 or (not free and left > 0):
        return uniform(shapes, ratio)
    share = left / sum(sizes[name] for name in free) if free else 0.0
    return {name: densities.get(name, share) for name in names}


@distribution("erk")
def erk(shapes: Shapes, ratio: float) -> Densities:
    """Erdős-Rényi-Kernel (Evci et al. 2020; paper section 2).

    Density is proportional to (C_in + C_out + k_h + k_w) / (C_in · C_out · k_h · k_w), or to
    (in + out) / (in · out). A layer that would pass density 1 becomes dense; the rest solve again.
    """
    sizes = _sizes(shapes)
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    # Each layer's share of the target is counted on its own and rounded, as the reference does.
    zeros = {name: math.floor(size * (1 - 1 / ratio)) for name, size in sizes.items()}
    dense: set[str] = set()
    while True:
        free = [name for name in sizes if name not in dense]
        if not free:
            return {name: 1.0 for name in sizes}
        left = sum(sizes[name] - zeros[name] for name in free) - sum(zeros[name] for name in dense)
        scale = left / sum(raw[name] * sizes[name] for name in free)
        highest = max(raw[name] for name in free)
        if highest * scale <= 1:
            return {name: 1.0 if name in dense else scale * raw[name] for name in sizes}
        dense |= {name for name in free if raw[name] == highest}


@distribution("igq")
def igq(shapes: Shapes, ratio: float) -> Densities:
    """Ideal Gas Quotas (Vysogorets & Kempe 2023; paper section 2): density 1 / (F·|E| + 1).

    The force F is bisected until the whole density is within one edge of the target. Low end, high
    end and midpoint are all tried in each round: at extreme ratios the answer depends on it, and the
    published results used this order.
    """
    sizes = _sizes(shapes)
    edges = sum(sizes.values())
    target = 1 / ratio

    def densities(force: float) -> Densities:
        # Through the sparsity and back: the reference stores it, and float64 rounds on the way.
        return {name: 1 - (1 - 1 / (force * size + 1)) for name, size in sizes.items()}

    def density(force: float) -> float:
        return sum(size / (force * size + 1) for size in sizes.values()) / edges

    low, high = 0.0, 1e20
    while True:
        middle = (low + high) / 2
        for force in (low, high, middle):
            if abs(density(force) - target) < 1 / edges:
                return densities(force)
        if middle in (low, high):  # float64 holds nothing between them
            return densities(middle)
        low, high = (middle, high) if density(middle) > target else (low, middle)


@distribution("epl")
def epl(shapes: Shapes, ratio: float) -> Densities:
    """Edges per layer: the same number for every layer; what overflows a small one is shared again."""
    sizes = _sizes(shapes)
    left = sum(sizes.values()) / ratio
    counts: dict[str, float] = {}
    by_size = sorted(sizes, key=lambda name: sizes[name])
    for done, name in enumerate(by_size):
        counts[name] = min(float(sizes[name]), left / (len(by_size) - done))
        left -= counts[name]
    return {name: counts[name] / sizes[name] for name in sizes}


distribution("balanced")(epl)  # Gadhikar et al. (2023) call it so


@distribution("pyramid")
def pyramid(shapes: Shapes, ratio: float) -> Densities:
    """Density p for the first layer, p² for the second, and so on, p by the ratio (Gadhikar et al. 2023)."""
    sizes = _sizes(shapes)
    target = sum(sizes.values()) / ratio
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        edges = sum(size * middle**depth for depth, size in enumerate(sizes.values(), 1))
        low, high = (middle, high) if edges < target else (low, middle)
    return {name: high**depth for depth, name in enumerate(sizes, 1)}


@distribution("smart-ratio")
def smart_ratio(shapes: Shapes, ratio: float) -> Densities:
    """Density of layer l of L proportional to (L − l + 1)² + (L − l + 1); 0.3 for the last (Su et al. 2020).

    Where the last layer's three tenths alone are more than the ratio leaves, it goes by the rule too. A layer
    that would pass density 1 becomes dense, and the others share what it cannot hold.
    """
    sizes = _sizes(shapes)
    names, target = list(sizes), sum(sizes.values()) / ratio
    raw = {name: (left + 1) * left for left, name in zip(range(len(names), 0, -1), names, strict=True)}
    last = names[-1]
    of_last = 0.3 * sizes[last]
    if of_last > target or len(names) == 1:
        return _proportional(raw, sizes, target)
    del raw[last]
    found = _proportional(raw, sizes, target - of_last)
    if all(density == 1 for density in found.values()):  # the last one takes what the others cannot hold
        of_last = target - sum(sizes[name] for name in raw)
    return {**found, last: of_last / sizes[last]}


@distribution("power")
def power(
    shapes: Shapes,
    ratio: float,
    pixels: Mapping[str, int],
    *,
    alpha: Exponent = 1.0,
    beta: Exponent = 0.0,
    gamma: Exponent = 0.0,
    classifier: Share | None = None,
    first: Annotated[Share | None, LATER] = None,
) -> Densities:
    """Density proportional to |E|^-alpha · pixels^beta · depth^gamma, the depth counted from 1.

    A family with few parameters, to search in: by default every layer has the same number of edges; alpha 0
    is `uniform`. A layer that would pass density 1 becomes dense, and the others share what it cannot hold.

    Args:
        pixels: layer name → positions of its output map.
        classifier: the last layer's share of all edges that are kept; by the rule where it is not set.
        first: the first layer's share of all edges that are kept; by the rule where it is not set.

    Raises:
        UserError: `first` and `classifier` together pass 1.
    """
    sizes = _sizes(shapes)
    raw = {
        name: size**-alpha * pixels[name] ** beta * depth**gamma
        for depth, (name, size) in enumerate(sizes.items(), 1)
    }
    if first is None or len(sizes) == 1:
        return _with_classifier(raw, sizes, sum(sizes.values()) / ratio, classifier)
    if (both := first + (classifier or 0)) > 1:
        raise UserError(f"power's first and classifier make {both:g} of all edges; allowed is 1 at most")
    edges, (entry, *rest) = sum(sizes.values()) / ratio, sizes
    others = {name: sizes[name] for name in rest}
    of_first = max(min(first * edges, sizes[entry]), edges - sum(others.values()))
    left = edges - of_first
    share = None if classifier is None else min(1.0, classifier * edges / left) if left else 0.0
    found = _with_classifier({name: raw[name] for name in rest}, others, left, share)
    return {entry: of_first / sizes[entry], **found}


@distribution("staged")
def staged(
    shapes: Shapes,
    ratio: float,
    pixels: Mapping[str, int],
    *,
    width: Annotated[int, Field(ge=1, le=1_000_000)] = 4,
    classifier: Share = 0.17,
) -> Densities:
    """`width` edges for every layer, and what is left for the first layer of each stage.

    A stage is a run of layers of the same resolution. With `mica(fan_in=1)` all layers are then about `width`
    channels wide: the first of a stage mixes them, the others pass each on by an edge of its own. Where the
    ratio leaves less than that, all layers but the last have the same number of edges.

    Args:
        pixels: layer name → positions of its output map.
        classifier: the last layer's share of all edges that are kept.
    """
    sizes = _sizes(shapes)
    edges, (*hidden, _) = sum(sizes.values()) / ratio, sizes
    firsts = hidden[:1] + [name for before, name in pairwise(hidden) if pixels[name] != pixels[before]]
    left = (1 - classifier) * edges - width * (len(hidden) - len(firsts))
    counts = dict.fromkeys(hidden, float(width))
    if firsts:
        counts |= dict.fromkeys(firsts, max(width, left / len(firsts)))
    raw = {name: count / sizes[name] for name, count in counts.items()}
    return _with_classifier(raw, sizes, edges, classifier)


def _with_classifier(
    raw: Mapping[str, float], sizes: Mapping[str, int], edges: float, share: float | None
) -> Densities:
    """This share of the edges for the last layer, or what the others cannot hold; theirs in proportion.

    Without a share the last layer's are in proportion too.
    """
    if share is None:
        return _proportional(raw, sizes, edges)
    *others, last = sizes
    of_others = min((1 - share) * edges, sum(sizes[name] for name in others))
    of_last = min(edges - of_others, sizes[last])
    found = _proportional({name: raw[name] for name in others}, sizes, edges - of_last)
    return {**found, last: of_last / sizes[last]}


def _proportional(raw: Mapping[str, float], sizes: Mapping[str, int], edges: float) -> Densities:
    """Densities in these proportions with so many edges in all; none passes 1."""
    found: Densities = {}
    while free := [name for name in raw if name not in found]:
        left = edges - sum(sizes[name] for name in found)
        scale = left / sum(raw[name] * sizes[name] for name in free)
        full = [name for name in free if scale * raw[name] >= 1]
        if not full:
            return {name: found.get(name, scale * raw[name]) for name in raw}
        found |= dict.fromkeys(full, 1.0)
    return found


def _sizes(shapes: Shapes) -> dict[str, int]:
    return {name: math.prod(shape) for name, shape in shapes.items()}
