"""When a mask collapses: what `sweeps/collapse.yaml` found, and what counting channels foretells.

`python docs/collapse.py results/collapse` takes a finished run into the documentation.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mica.report.figures.curves import powers_of_ten
from mica.report.figures.looks import STYLE

PLACE = Path(__file__).parent / "collapse"
MASKS = 41_472
METHODS = ["rpi-erk", "rpi-igq", "rbpi-magnitude", "rbpi-snip", "mica-erk", "mica-igq"]
RANDOM = METHODS[:3]
"""Initial weights are random, and so is what a ranking of their sizes keeps of a layer."""
_DEPTHS = {8: "#9ecae1", 20: "#4292c6", 32: "#08519c", 56: "#08132f"}
WIDTHS = {8: "v", 16: "o", 32: "^"}
_CELL = ["depth", "width", "skips", "method", "log10_ratio"]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, as channels see it."""

    channels_in: int
    channels_out: int
    positions: int
    """Kernel positions of one channel."""
    edges: int
    """That are kept, anywhere with the same probability."""

    @property
    def linked(self) -> float:
        """The probability that an output channel reads one given input channel."""
        places = self.channels_in * self.channels_out * self.positions
        return 1 - math.prod(max(1 - self.edges / (places - taken), 0) for taken in range(self.positions))

    def live(self, share: float) -> float:
        """The share of its output channels with a live input, of live input channels."""
        return 1 - (1 - share * self.linked) ** self.channels_in

    def read(self, share: float) -> float:
        """The share of its input channels that are read, of read output channels."""
        return 1 - (1 - share * self.linked) ** self.channels_out


def foretold(layers: Mapping[str, Layer], *, skips: bool) -> float:
    """The share of a residual network's random edges that are functional, were its channels independent.

    A channel is live if one of its edges comes from a live channel, and read if an edge of a read channel
    comes from it; where branches meet either of them will do. What borders cut off is not foretold.

    Args:
        layers: those of `mica.models.resnet.ResNet`, by name.
        skips: whether its blocks have shortcuts.
    """

    def either(way: Callable[[Layer, float], float], block: int, share: float, residual: float) -> float:
        """What comes through a block, or past it."""
        shortcut = layers.get(f"blocks.{block}.shortcut.0")
        past = way(shortcut, share) if shortcut else share if skips else 0.0
        return 1 - (1 - residual) * (1 - past)

    blocks = range(sum(name.endswith("conv1") for name in layers))
    pairs = [(layers[f"blocks.{block}.conv1"], layers[f"blocks.{block}.conv2"]) for block in blocks]
    live, inside = [layers["conv"].live(1.0)], []
    for block, (first, second) in enumerate(pairs):
        inside.append(first.live(live[-1]))
        live.append(either(Layer.live, block, live[-1], second.live(inside[-1])))
    read = layers["fc"].read(1.0)
    functional = layers["fc"].edges * live[-1]
    for block, (first, second) in reversed(list(enumerate(pairs))):
        between = second.read(read)
        functional += second.edges * inside[block] * read + first.edges * live[block] * between
        if shortcut := layers.get(f"blocks.{block}.shortcut.0"):
            functional += shortcut.edges * live[block] * read
        read = either(Layer.read, block, read, first.read(between))
    functional += layers["conv"].edges * read
    return functional / max(sum(layer.edges for layer in layers.values()), 1)


def layers_of(rows: pd.DataFrame) -> dict[str, Layer]:
    """From one trial's rows of the layers' table."""
    found = {}
    for name, shape, budget in zip(rows["name"], rows["shape"], rows["budget"], strict=True):
        channels_out, channels_in, *kernel = map(int, shape.split(","))
        found[name] = Layer(channels_in, channels_out, int(np.prod(kernel)), int(budget))
    return found


def take(results: Path) -> None:
    """Keep of a finished run what the documentation shows: means of its cells, and two figures.

    Raises:
        ValueError: it is not finished.
    """
    trials, layers = (
        pd.read_parquet(results / "tables" / f"{name}.parquet") for name in ("trials", "layers")
    )
    if len(trials) != MASKS:
        raise ValueError(f"{len(trials)} of {MASKS} masks are done")
    PLACE.mkdir(exist_ok=True)
    cells(trials, layers).round(4).to_csv(PLACE / "cells.csv", index=False)
    draw()


def cells(trials: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """One row a network, method and ratio: functional share found and foretold, means over the seeds."""
    by_trial = dict(iter(layers.groupby("trial_key")))
    rows = []
    for trial in trials.itertuples():
        own = layers_of(by_trial[trial.trial_key])
        skips = "skips=False" not in trial.model
        rows.append(
            {
                "depth": len([name for name in own if ".shortcut" not in name]),
                "width": own["conv"].channels_out,
                "skips": skips,
                "method": trial.method,
                "log10_ratio": trial.log10_ratio,
                "per_channel": min(layer.edges / layer.channels_out for layer in own.values()),
                "found": trial.edges_functional / max(trial.edges_budget, 1),
                "foretold": foretold(own, skips=skips),
                "collapsed": trial.edges_functional == 0,
            }
        )
    grouped = pd.DataFrame(rows).groupby(_CELL)
    means = grouped[["per_channel", "found", "foretold"]].mean()
    return means.assign(collapsed=grouped["collapsed"].sum(), masks=grouped.size()).reset_index()


def kept() -> pd.DataFrame:
    """What `take` kept."""
    return pd.read_csv(PLACE / "cells.csv")


def half(rows: pd.DataFrame) -> float | None:
    """The log10 ratio at which the functional share falls to a half; None if it does not.

    Args:
        rows: of one network and method.
    """
    rows = rows.sort_values("log10_ratio")
    found, ratios = rows["found"].to_numpy(), rows["log10_ratio"].to_numpy()
    assert found[0] >= 0.5, "it is a half below the lowest ratio"
    if found[-1] >= 0.5:
        return None
    after = int(np.argmax(found < 0.5))
    return float(np.interp(0.5, found[[after, after - 1]], ratios[[after, after - 1]]))


def half_rows() -> Iterator[tuple[str, ...]]:
    """Of the documentation's table: the ratios at which half of the edges function, a column a width."""
    rows = kept()
    for skips in (False, True):
        for method in METHODS:
            for depth in _DEPTHS:
                own = rows[(rows.skips == skips) & (rows.method == method) & (rows.depth == depth)]
                found = [half(own[own.width == width]) for width in WIDTHS]
                shown = ("above 10^4" if log10 is None else f"10^{log10:.2f}" for log10 in found)
                yield "yes" if skips else "no", f"`{method}`", str(depth), *shown


def error_rows() -> Iterator[tuple[str, ...]]:
    """Of the documentation's table: how far from what is found what is foretold lies, in points.

    Cells of which less than a twentieth functions or fails to are left out: there it is easy.
    """
    rows = kept()
    rows = rows[rows.found.between(0.05, 0.95)]
    for method in METHODS[:4]:
        for skips in (False, True):
            own = rows[(rows.skips == skips) & (rows.method == method)]
            apart = 100 * (own.foretold - own.found).abs()
            shares = f"{apart.mean():.1f}", f"{apart.quantile(0.95):.1f}", f"{apart.max():.1f}"
            yield f"`{method}`", "yes" if skips else "no", str(len(own)), *shares


def draw() -> None:
    """Both figures, from what `take` kept."""
    rows = kept()
    with plt.rc_context(STYLE):
        for name, figure in (("ratio", _by_ratio(rows)), ("law", _law(rows))):
            figure.savefig(PLACE / f"{name}.png", dpi=150)
            plt.close(figure)


def _by_ratio(rows: pd.DataFrame) -> Figure:
    """RPI-IGQ against the ratio, a panel for each width, without shortcuts above and with them below."""
    figure, grid = plt.subplots(2, 3, figsize=(7.4, 4.6), sharex=True, sharey=True, layout="constrained")
    for skips, line in zip((False, True), grid, strict=True):
        for width, axes in zip(WIDTHS, line, strict=True):
            shown = rows[(rows.skips == skips) & (rows.width == width)]
            for depth, colour in _DEPTHS.items():
                own = shown[(shown.depth == depth) & (shown.method == "rpi-igq")]
                axes.plot(own.log10_ratio, 100 * own.foretold, color=colour, linewidth=1.0)
                axes.plot(own.log10_ratio, 100 * own.found, ".", color=colour, markersize=5)
            mica = shown[(shown.depth == 56) & (shown.method == "mica-igq")]
            axes.plot(mica.log10_ratio, 100 * mica.found, color="#d95f02", linewidth=1.0, linestyle="--")
            axes.set_title(f"{width}, {2 * width}, {4 * width} channels{'' if skips else ', no shortcuts'}")
            powers_of_ten(axes, 0.25, 4)
    for axes in grid[-1]:
        axes.set_xlabel("nominal compression ratio")
    for axes in grid[:, 0]:
        axes.set_ylabel("functional edges, %")
    found = [_key(f"RPI-IGQ, depth {depth}", color=colour, marker=".") for depth, colour in _DEPTHS.items()]
    mica = _key("MiCA-IGQ, depth 56", color="#d95f02", linestyle="--")
    figure.legend(handles=[*found, mica], loc="outside lower center", ncols=5)
    return figure


def _law(rows: pd.DataFrame) -> Figure:
    """All random masks against the edges a channel has, and what is foretold against what is found."""
    figure, (plain, residual, both) = plt.subplots(1, 3, figsize=(7.4, 3.0), layout="constrained")
    random = rows[rows.method.isin(RANDOM)]
    for skips, axes in ((False, plain), (True, residual)):
        shown = random[(random.skips == skips) & random.method.str.startswith("rpi")]
        _points(axes, shown, "per_channel", "found")
        axes.set(xscale="log", xlim=(0.05, 50), ylim=(-4, 104), ylabel="functional edges, %")
        axes.set_xlabel("edges a channel, in the thinnest layer")
        axes.set_title("with shortcuts" if skips else "without shortcuts")
        axes.axvline(1, color="#555555", linewidth=0.6, linestyle=(0, (1, 2)))
    both.plot([0, 100], [0, 100], color="#555555", linewidth=0.6)
    _points(both, random, "foretold", "found", scale=100)
    both.set(xlabel="foretold, %", ylabel="functional edges, %", xlim=(-4, 104), ylim=(-4, 104))
    both.set_title("foretold and found")
    depths = [_key(f"depth {depth}", color=colour, marker="o") for depth, colour in _DEPTHS.items()]
    widths = [_key(f"width {width}", color="#555555", marker=marker) for width, marker in WIDTHS.items()]
    figure.legend(handles=[*depths, *widths], loc="outside lower center", ncols=7)
    return figure


def _points(axes: Axes, rows: pd.DataFrame, x: str, y: str, scale: float = 1) -> None:
    for (depth, width), own in rows.groupby(["depth", "width"]):
        look = {"color": _DEPTHS[depth], "marker": WIDTHS[width], "markersize": 3.2, "linestyle": "none"}
        axes.plot(scale * own[x], 100 * own[y], markeredgewidth=0, alpha=0.8, **look)


def _key(label: str, *, color: str, marker: str = "", linestyle: str = "none") -> Line2D:
    return Line2D([], [], label=label, color=color, marker=marker, linestyle=linestyle, markersize=4.2)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
