"""Figures come out of any table, whole or partial, and say what they should."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from mica.report.cells.grouping import cells, finished
from mica.report.figures import draw as drawing
from mica.report.figures.draw import draw
from mica.report.figures.pages import Page, pages

Make = Callable[..., dict[str, Any]]
THREE = ["accuracy-digits-mlp", "functional-edges-digits-mlp", "functional-nodes-digits-mlp"]


def names(trials: pd.DataFrame) -> list[str]:
    return [page.name for page in pages(finished(trials), None)]


def page(trials: pd.DataFrame, name: str = "accuracy") -> Page:
    (found,) = [page for page in pages(finished(trials), None) if page.name == name]
    return found


def axes_of(page: Page) -> Axes:
    return drawing._figure(page, "page").axes[0]


def markers(axes: Axes, marker: str) -> list[tuple[float, float, bool]]:
    """Points drawn with a marker, as x, y and whether they are hollow."""
    return [
        (float(x), float(y), to_hex(line.get_markerfacecolor()) == "#ffffff")
        for line in axes.lines
        if line.get_marker() == marker and line.get_fillstyle() == "full"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_a_network_s_three_figures_and_those_of_the_paper(trials: pd.DataFrame, tmp_path: Path) -> None:
    files = draw(trials, tmp_path / "new" / "figures")
    assert [file.name for file in files] == [
        f"{name}.{kind}"
        for name in (*THREE, "figure5-digits", "figure6-digits")
        for kind in ("png", "svg", "pdf")
    ]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert 1000 < int.from_bytes(files[0].read_bytes()[16:20]) < 1200, "pixels across"


def test_a_column_is_as_wide_as_a_column(trials: pd.DataFrame, tmp_path: Path) -> None:
    wide, *_ = draw(trials, tmp_path / "page")
    narrow, *_ = draw(trials, tmp_path / "column", width="column")
    across = [int.from_bytes(file.read_bytes()[16:20]) for file in (wide, narrow)]
    assert across == [1110, 525], "pixels, 150 an inch"


def test_the_same_table_gives_the_same_files(trials: pd.DataFrame, tmp_path: Path) -> None:
    edges = trials.assign(test_top1=None, test_top1_max=None, functional_node_share=None)

    def digests(folder: str) -> list[str]:
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in draw(edges, tmp_path / folder)]

    assert len(digests("one")) == 6
    assert digests("one") == digests("two")


def test_accuracy_stands_at_the_corrected_ratio(trials: pd.DataFrame) -> None:
    trials.loc[trials["method"] == "mica-erk", "corrected_ratio"] *= 10
    axes = axes_of(page(trials))
    assert markers(axes, "o") == [(2, 91, False), (3, 70.5, False)]
    assert axes.get_title() == "digits · mlp · 2 seeds"


def test_collapsed_cells_are_hollow_at_chance_and_their_nominal_ratio(trials: pd.DataFrame) -> None:
    axes = axes_of(page(trials))
    assert markers(axes, "s") == [(1, 60, False), (1, 10, True), (2, 10, True)]
    assert [text.get_text() for text in axes.texts] == ["1/2"]


def test_dense_is_a_line_with_a_band(trials: pd.DataFrame) -> None:
    axes = axes_of(page(trials))
    assert 97.5 in [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]
    assert "Dense" in [artist.get_label() for artist in page(trials).notes]


def test_a_method_looks_the_same_in_every_figure(trials: pd.DataFrame) -> None:
    def looks(name: str) -> set[tuple[str, str]]:
        lines = axes_of(page(trials, name)).lines
        return {(to_hex(line.get_color()), str(line.get_marker())) for line in lines} - {("#555555", "None")}

    assert looks("accuracy") == looks("functional-edges") == looks("functional-nodes")
    assert looks("accuracy") == {("#0072b2", "o"), ("#0072b2", "s")}


def test_functional_shares_stand_at_the_nominal_ratio_with_collapsed_ones_at_0(trials: pd.DataFrame) -> None:
    axes = axes_of(page(trials, "functional-edges"))
    assert markers(axes, "s") == [(1, 50, False), (2, 0, False)]


def test_masks_alone_have_no_accuracy(trials: pd.DataFrame) -> None:
    masks = trials.assign(test_top1=None, test_top1_max=None, epochs=0)
    assert names(masks) == ["functional-edges", "functional-nodes"]


def test_without_node_shares_that_figure_is_left_out(trials: pd.DataFrame) -> None:
    assert names(trials.assign(functional_node_share=None)) == ["accuracy", "functional-edges"]


@pytest.mark.parametrize("what", ["nothing", "failed", "collapsed", "one", "dense", "one_ratio", "diverged"])
def test_partial_tables_are_drawn(trials: pd.DataFrame, what: str) -> None:
    some = {
        "nothing": trials.iloc[:0],
        "failed": trials.assign(outcome="failed", edges_placed=None, edges_functional=None),
        "collapsed": trials[trials["outcome"] == "collapsed"],
        "one": trials.iloc[2:3],
        "dense": trials[trials["method"] == "dense"],
        "one_ratio": trials[trials["log10_ratio"] == 1],
        "diverged": trials.assign(outcome=trials["outcome"].replace("completed", "diverged")),
    }[what]
    expected = {"nothing": 0, "failed": 0, "dense": 1}.get(what, 3)
    found = [page for _, rows in finished(some).groupby("model") for page in pages(rows, None)]
    for each in found:
        drawing._figure(each, "column").draw_without_rendering()
    assert len(found) == expected


def test_many_methods_get_a_panel_a_distribution(make: Make) -> None:
    methods = [f"{pruner}-{rule}" for rule in ("igq", "snip") for pruner in ("mica", "rpi")]
    rows = [make(method, ratio, 0, 50.0) for method in [*methods, "rbpi-snip"] for ratio in (1, 2)]
    rows += [make(f"mica-{rule}", 1, 0, 40.0, budget="corrected") for rule in ("igq", "snip")]
    figure = drawing._figure(page(pd.DataFrame(rows)), "page")
    panels = {axes.get_title(): len(axes.lines) for axes in figure.axes}
    assert panels == {"IGQ": 3, "SNIP": 4}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["MiCA", "MiCA (corrected)", "RPI", "RbPI"]


def test_names_are_safe_and_never_shared(trials: pd.DataFrame, tmp_path: Path) -> None:
    odd = [trials.assign(model=name) for name in ("mlp(hidden=64x64)", "mlp(hidden=64/64)", "../MLP")]
    files = draw(pd.concat([part[part["method"] == "dense"] for part in odd]), tmp_path)
    assert sorted(file.name for file in files if file.suffix == ".png") == [
        "accuracy-digits-..-mlp.png",
        "accuracy-digits-mlp-hidden-64-64.png",
        "accuracy-digits-mlp-hidden-64x64.png",
    ]
    twins = [trials.assign(model=name).iloc[:1] for name in ("a(b)", "a[b]")]
    assert len({*draw(pd.concat(twins), tmp_path)}) == 6


def test_cells_average_over_seeds(trials: pd.DataFrame) -> None:
    rows = cells(finished(trials)).set_index(["method", "log10_ratio"])
    row = rows.loc[("mica-erk", 1)]
    assert row["accuracy"] == 91 and row["accuracy_std"] == pytest.approx(2**0.5)
    assert (row["accuracy_low"], row["accuracy_high"]) == (91 - row["accuracy_std"], 91 + row["accuracy_std"])
    assert (row["share"], row["nodes"], row["x"]) == (100, 50, 1)


def test_a_narrow_spread_is_not_magnified(make: Make) -> None:
    axes = axes_of(page(pd.DataFrame([make("mica-erk", 1, 0, 90.0), make("mica-erk", 2, 0, 89.9)])))
    low, high = axes.get_ylim()
    assert high - low >= 20
