"""The paper's statements on functional edges and nodes (sections 4.3, 4.4 and 4.7) beside our masks.

`python docs/statements.py results/masks` takes into the documentation what a run of `sweeps/masks.yaml` left.
"""

import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

PLACE = Path(__file__).parent / "masks"
_COLUMNS = [
    "model", "method", "budget", "log10_ratio", "seed", "outcome", "edges_budget", "edges_functional",
    "corrected_ratio", "functional_node_share",
]  # fmt: skip
_FIGURES = ("figure5-cifar10.png", "figure9-cifar10.png")


@dataclass(frozen=True)
class Means:
    """Over the seeds, of one network's masks."""

    rows: pd.DataFrame

    def edges(self, method: str, log10_ratio: float) -> float:
        """Functional of all placed edges, in percent."""
        rows = self._rows(method, log10_ratio, "nominal")
        return 100 * float((rows.edges_functional / rows.edges_budget).mean())

    def nodes(self, method: str, log10_ratio: float, budget: str = "nominal") -> float:
        """Functional nodes, in percent."""
        return 100 * float(self._rows(method, log10_ratio, budget).functional_node_share.mean())

    def corrected(self, method: str, log10_ratio: float) -> float:
        """log10 of the corrected ratio."""
        return float(self._rows(method, log10_ratio, "nominal").corrected_ratio.map(math.log10).mean())

    def _rows(self, method: str, log10_ratio: float, budget: str) -> pd.DataFrame:
        keys = ["method", "budget", "log10_ratio"]
        return self.rows.set_index(keys).sort_index().loc[(method, budget, log10_ratio)]


class Statement(NamedTuple):
    """One of the paper's, and what our masks say of the same."""

    section: str
    said: str
    ours: Callable[[Means, Means], str]
    """From the means of VGG-16 and of ResNet-20."""
    agrees: str


def _edges(means: Means, methods: tuple[str, str], *ratios: float) -> str:
    parts = []
    for method, name in zip(methods, ("ERK", "IGQ"), strict=True):
        shares = ", ".join(f"{means.edges(method, ratio):.1f}" for ratio in ratios)
        parts.append(f"{name} {shares} %")
    at = ", ".join(f"10^{ratio:g}" for ratio in ratios)
    return f"at {at}: {'; '.join(parts)}"


_RPI, _MICA = ("rpi-erk", "rpi-igq"), ("mica-erk", "mica-igq")


def _synflow(means: Means, *ratios: float) -> str:
    return "; ".join(
        f"10^{ratio:g}: {means.nodes('rbpi-synflow', ratio):.1f} % against "
        f"{means.nodes('mica-synflow', ratio, 'corrected'):.1f} %"
        for ratio in ratios
    )


STATEMENTS = (
    Statement(
        "4.3", "RPI-ERK and RPI-IGQ begin to lose functional edges around 10^3 on VGG-16",
        lambda vgg, resnet: _edges(vgg, _RPI, 2.5, 3, 3.5), "yes",
    ),
    Statement(
        "4.3", "and around 10^2 on ResNet-20",
        lambda vgg, resnet: _edges(resnet, _RPI, 1.5, 2, 2.5), "yes",
    ),
    Statement(
        "4.3", "of MiCA-ERK and MiCA-IGQ almost all edges are functional even at 10^5 on VGG-16",
        lambda vgg, resnet: _edges(vgg, _MICA, 5), "yes: all",
    ),
    Statement(
        "4.3", "and at 10^3.5 on ResNet-20",
        lambda vgg, resnet: _edges(resnet, _MICA, 3.5), "yes: all",
    ),
    Statement(
        "4.3", "ERK leaves layers of VGG-16 without edges at 10^5.5, and MiCA-ERK without a functional one",
        lambda vgg, resnet: f"MiCA-ERK {vgg.edges('mica-erk', 5.5):.1f} %", "yes",
    ),
    Statement(
        "4.4", "RPI at a nominal 10^3.5 has a corrected ratio above 10^4 on VGG-16",
        lambda vgg, resnet: f"ERK 10^{vgg.corrected('rpi-erk', 3.5):.2f}, "
        f"IGQ 10^{vgg.corrected('rpi-igq', 3.5):.2f}", "yes",
    ),
    Statement(
        "4.4", "and no functional edge from 10^4 on",
        lambda vgg, resnet: _edges(vgg, _RPI, 4), "yes",
    ),
    Statement(
        "4.7", "almost three quarters of the nodes of RPI-ERK and RPI-IGQ do not function at 10^3 on VGG-16",
        lambda vgg, resnet: f"ERK {100 - vgg.nodes('rpi-erk', 3):.1f} %, "
        f"IGQ {100 - vgg.nodes('rpi-igq', 3):.1f} %", "roughly: two thirds",
    ),
    Statement(
        "4.7", "while of MiCA-ERK and MiCA-IGQ all do",
        lambda vgg, resnet: f"ERK {vgg.nodes('mica-erk', 3, 'corrected'):.1f} %, "
        f"IGQ {vgg.nodes('mica-igq', 3, 'corrected'):.1f} %", "yes",
    ),
    Statement(
        "4.7", "RbPI makes nodes non-functional at low ratios already",
        lambda vgg, resnet: "VGG-16 at 10^0.5: " + ", ".join(
            f"{name} {vgg.nodes(f'rbpi-{name.lower()}', 0.5):.1f} % function"
            for name in ("SNIP", "GraSP", "SynFlow")
        ), "yes",
    ),
    Statement(
        "4.7", "without MiCA, RbPI-SynFlow keeps the most nodes functional at high ratios",
        lambda vgg, resnet: f"VGG-16 at 10^3: {vgg.nodes('rbpi-synflow', 3):.1f} %; the others at most "
        + f"{max(vgg.nodes(name, 3) for name in (*_RPI, 'rbpi-snip', 'rbpi-grasp')):.1f} %", "yes",
    ),
    Statement(
        "4.7", "more than MiCA-SynFlow above 10^4 on VGG-16",
        lambda vgg, resnet: _synflow(vgg, 4, 4.5, 5), "yes, up to 10^5.5",
    ),
    Statement(
        "4.7", "and above 10^2 on ResNet-20",
        lambda vgg, resnet: _synflow(resnet, 2, 2.5, 3), "yes",
    ),
    Statement(
        "4.7", "at a corrected 10^4.7 on VGG-16 MiCA-ERK keeps nearly half its nodes functional, RPI-ERK few",
        lambda vgg, resnet: f"{vgg.nodes('mica-erk', 3.5, 'corrected'):.1f} % against "
        f"{vgg.nodes('rpi-erk', 3.5):.1f} %, at 10^{vgg.corrected('rpi-erk', 3.5):.2f}",
        "in part: fewer, at a ratio twice as high",
    ),
    Statement(
        "4.7", "on ResNet-20 MiCA is ahead too, by less than on VGG-16",
        lambda vgg, resnet: "ERK, largest lead: "
        f"{max(_lead(resnet, ratio) for ratio in _HALVES):.1f} points against "
        f"{max(_lead(vgg, ratio) for ratio in _HALVES):.1f}", "yes",
    ),
)  # fmt: skip
_HALVES = tuple(half / 2 for half in range(1, 13))


def _lead(means: Means, ratio: float) -> float:
    return means.nodes("mica-erk", ratio, "corrected") - means.nodes("rpi-erk", ratio)


def rows() -> list[tuple[str, str, str, str]]:
    """Of the documentation's table."""
    masks = pd.read_csv(PLACE / "masks.csv")
    vgg, resnet = (Means(masks[masks.model == model]) for model in ("vgg16", "resnet20"))
    return [(s.section, s.said, s.ours(vgg, resnet), s.agrees) for s in STATEMENTS]


def take(results: Path) -> None:
    """Keep of a finished run what the documentation shows."""
    masks = pd.read_parquet(results / "tables" / "trials.parquet")[_COLUMNS]
    assert len(masks) == 864, f"{len(masks)} of 864 masks are done"
    order = ["model", "method", "budget", "log10_ratio", "seed"]
    masks.sort_values(order).round(6).to_csv(PLACE / "masks.csv", index=False)
    for name in _FIGURES:
        shutil.copy(results / "figures" / name, PLACE / name)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
