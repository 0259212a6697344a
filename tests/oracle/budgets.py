"""Budgets worked out a second time from design 4.3 (and layer shapes of the two networks it quotes)."""

import math
from collections.abc import Mapping
from fractions import Fraction

Shapes = Mapping[str, tuple[int, ...]]

VGG16 = {
    **{
        f"conv{i}": (wide, narrow, 3, 3)
        for i, (narrow, wide) in enumerate(
            [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
            + [(256, 512)]
            + [(512, 512)] * 5
        )
    },
    "classifier": (10, 512),
}

RESNET20 = {
    "conv": (16, 3, 3, 3),
    **{f"stage1.{i}": (16, 16, 3, 3) for i in range(6)},
    **{f"stage2.{i}": (32, 16 if i == 0 else 32, 3, 3) for i in range(6)},
    "shortcut2": (32, 16, 1, 1),
    **{f"stage3.{i}": (64, 32 if i == 0 else 64, 3, 3) for i in range(6)},
    "shortcut3": (64, 32, 1, 1),
    "classifier": (10, 64),
}


def floors(expected: Mapping[str, Fraction]) -> dict[str, set[int]]:
    """What ⌊x⌋ may be when x carries a rounding error of float64 arithmetic."""
    slack = Fraction(1, 10**9)
    return {name: {math.floor(x * (1 - slack)), math.floor(x * (1 + slack))} for name, x in expected.items()}


def uniform(shapes: Shapes, ratio: float) -> dict[str, Fraction]:
    return {name: Fraction(math.prod(shape)) / Fraction(ratio) for name, shape in shapes.items()}


def epl(shapes: Shapes, ratio: float) -> dict[str, Fraction]:
    """The same count everywhere; what a full layer cannot hold is shared among the others."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    left, counts = Fraction(sum(sizes.values())) / Fraction(ratio), {}
    open_layers = sorted(sizes, key=sizes.__getitem__)
    while open_layers:
        counts[open_layers[0]] = min(Fraction(sizes[open_layers[0]]), left / len(open_layers))
        left -= counts[open_layers.pop(0)]
    return counts


def erk(shapes: Shapes, ratio: float) -> dict[str, Fraction]:
    """Exact fractions; only a layer's target of ones uses float64, as design 4.3 writes it."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    ones = {name: n - math.floor(n * (1 - 1 / ratio)) for name, n in sizes.items()}
    weight = {name: Fraction(sum(shape), sizes[name]) for name, shape in shapes.items()}
    dense: set[str] = set()
    while len(dense) < len(sizes):
        rest = [name for name in sizes if name not in dense]
        target = sum(ones.values()) - sum(sizes[name] for name in dense)
        scale = target / sum(weight[name] * sizes[name] for name in rest)
        highest = max(weight[name] for name in rest)
        if highest * scale <= 1:
            density = {name: Fraction(1) if name in dense else scale * weight[name] for name in sizes}
            return {name: n * density[name] for name, n in sizes.items()}
        dense |= {name for name in rest if weight[name] == highest}
    return {name: Fraction(n) for name, n in sizes.items()}


def igq(shapes: Shapes, ratio: float) -> dict[str, int]:
    """The reference's bisection, in float64 as its result depends on it."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    total, target = sum(sizes), 1 / ratio

    def densities(force: float) -> list[float]:
        return [1 / (force * n + 1) for n in sizes]

    def near(force: float) -> bool:
        overall = sum(n * d for n, d in zip(sizes, densities(force), strict=True)) / total
        return abs(overall - target) < 1 / total

    low, high = 0.0, 1e20
    while True:
        middle = (low + high) / 2
        force = next((f for f in (low, high, middle) if near(f)), None)
        if force is not None:
            break
        overall = sum(n * d for n, d in zip(sizes, densities(middle), strict=True)) / total
        low, high = (low, middle) if overall < target else (middle, high)
    counts = [math.floor(n * (1 - (1 - d))) for n, d in zip(sizes, densities(force), strict=True)]
    return dict(zip(shapes, counts, strict=True))
