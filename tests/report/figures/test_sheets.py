"""The paper's figures: a row a network, a column a kind of distribution, holes shown as holes."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mica.report.cells.grouping import finished
from mica.report.figures.looks import STYLE
from mica.report.figures.pages import pages
from mica.report.figures.sheets import SHEETS, sheet_figure

Make = Callable[..., dict[str, Any]]


def sheets(rows: list[dict[str, Any]]) -> dict[str, Figure]:
    kept = finished(pd.DataFrame(rows))
    networks = [{page.name: page for page in pages(of_model, None)} for _, of_model in kept.groupby("model")]
    found = {sheet.name: sheet_figure(sheet, networks) for sheet in SHEETS}
    return {name: figure for name, figure in found.items() if figure}


def cells(make: Make, *methods: str, model: str = "vgg16", **columns: Any) -> list[dict[str, Any]]:
    return [make(method, ratio, 0, 50.0, model=model, **columns) for method in methods for ratio in (1, 2)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_whole_grid_gives_the_paper_s_five(make: Make) -> None:
    rows = []
    for model in ("resnet20", "vgg16"):
        for rule in ("erk", "snip"):
            rows += cells(make, f"mica-{rule}", f"rpi-{rule}", model=model)
            rows += cells(make, f"mica-{rule}", model=model, budget="corrected")
        rows += cells(make, "rbpi-snip", model=model)
    found = sheets(rows)
    assert list(found) == ["figure5", "figure6", "figure7", "figure8", "figure9"]
    assert {name: len(figure.axes) for name, figure in found.items()} == {
        "figure5": 4, "figure6": 4, "figure7": 2, "figure8": 4, "figure9": 4,
    }  # fmt: skip
    assert legend(found["figure6"])[:4] == ["MiCA-ERK", "RPI-ERK", "MiCA-SNIP", "RPI-SNIP"]
    assert legend(found["figure8"])[:4] == [
        "MiCA-ERK (corrected)", "RPI-ERK", "MiCA-SNIP (corrected)", "RbPI-SNIP",
    ]  # fmt: skip


def test_what_was_not_run_is_a_hole(make: Make) -> None:
    rows = cells(make, "mica-erk", "rpi-erk", "mica-snip", "rpi-snip")
    rows += cells(make, "mica-erk", "rpi-erk", model="resnet20")
    (hole,) = [axes for axes in sheets(rows)["figure6"].axes if not axes.lines]
    assert [text.get_text() for text in hole.texts] == ["not run"]


@pytest.mark.parametrize("methods", [["mica-erk"], ["mica-erk", "mica-igq"], ["rbpi-snip"], ["snip-erk"]])
def test_where_nothing_is_compared_there_is_none(make: Make, methods: list[str]) -> None:
    assert sheets(cells(make, *methods)) == {}


def test_networks_of_other_ranges_have_axes_of_their_own(make: Make) -> None:
    rows = cells(make, "mica-erk", "rpi-erk")
    rows += [make(method, 5, 0, 20.0, model="resnet20") for method in ("mica-erk", "rpi-erk")]
    upper, lower = sheets(rows)["figure6"].axes
    assert upper.get_xlim() != lower.get_xlim()


def test_a_user_s_own_rule_is_imported_by_nobody(make: Make) -> None:
    rows = cells(make, "mica-erk", "rpi-erk")
    own = [
        row | {"method": row["method"].replace("erk", "no.such:rule"), "distribution": "no.such:rule"}
        for row in rows
    ]
    assert legend(sheets(rows + own)["figure6"])[:4] == ["MiCA-ERK", "RPI-ERK", "MiCA-rule", "RPI-rule"]


@pytest.mark.parametrize("rules", [["igq"], ["erk", "snip"]])
def test_the_legend_stays_within_the_figure(make: Make, rules: list[str]) -> None:
    """With all notes that there are: several seeds, a collapse, chance and the dense network."""
    methods = [f"{pruner}-{rule}" for rule in rules for pruner in ("mica", "rpi")]
    rows = [
        make(method, ratio, seed, 50.0 + seed, model="vgg16")
        for method in methods
        for ratio in (1, 2)
        for seed in (0, 1)
    ]
    rows += [make(methods[1], 3, seed, None, model="vgg16", outcome="collapsed") for seed in (0, 1)]
    rows += [make("dense", 0, seed, 90.0, model="vgg16") for seed in (0, 1)]
    figure = sheets(rows)["figure6"]
    assert "Collapsed, at its nominal ratio" in legend(figure) and "Dense" in legend(figure)
    with plt.rc_context(STYLE):
        figure.canvas.draw()
    whole, box = figure.bbox, figure.legends[0].get_window_extent()
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
