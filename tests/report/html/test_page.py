"""The HTML page: its numbers against answers worked out by hand, and that it needs nothing but itself."""

import json
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from mica.report.html.page import page
from mica.report.html.page_data import page_data

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def tables(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    trials = trials.assign(seconds_mask=1.0, seconds_train=9.0)
    for number, kind in enumerate(("dense", "masked", "compact")):
        trials[f"flops_{kind}"] = 10**6 * (3.0 - number)
    trained = trials[trials["outcome"] == "completed"]
    layers = pd.DataFrame(
        {"trial_key": key, "name": name, "shape": "", "edges": 100, "budget": 10, "placed": 10,
         "functional": 10 - seed, "nodes_in": 5, "nodes_out": 4}
        for key, seed in zip(trials["trial_key"], trials["seed"], strict=True) for name in ("first", "second")
    )  # fmt: skip
    epochs = pd.DataFrame(
        {"trial_key": key, "epoch": epoch, "train_loss": 2.0 / epoch, "train_top1": 10.0 * epoch + seed,
         "val_top1": 20.0, "test_top1": 30.0 + seed}
        for key, seed in zip(trained["trial_key"], trained["seed"], strict=True) for epoch in (1, 2, 3)
    )  # fmt: skip
    return trials, layers, epochs


def test_cells_have_means_and_every_seed(tables: tuple[pd.DataFrame, ...]) -> None:
    data = page_data("mine", *tables)
    (network,) = data["networks"]
    assert (network["title"], network["chance"], network["seeds"]) == ("digits · mlp", 10, [0, 1])
    assert [series["label"] for series in network["series"]] == ["MiCA-ERK", "RPI-ERK", "Dense"]
    number = {series["label"]: series["id"] for series in network["series"]}
    by_place = {(cell["series"], cell["ratio"]): cell for cell in data["cells"]}
    cell = by_place[number["MiCA-ERK"], 1]
    assert (cell["accuracy"], cell["spread"], cell["corrected"]) == (91, 1.4142, 1)
    assert (cell["seconds"], cell["seconds_mask"], cell["mflops"]) == (10, 1, [3, 2, 1])
    assert [seed["accuracy"] for seed in cell["seeds"]] == [90, 92]
    assert cell["layers"] == [["first", 100, 10, 10, 9.5, 5, 4], ["second", 100, 10, 10, 9.5, 5, 4]]
    assert cell["curves"]["train"] == [10.5, 20.5, 30.5] and cell["curves"]["loss"] == [2, 1, 0.66667]
    lost = by_place[number["RPI-ERK"], 2]
    assert (lost["collapsed"], lost["accuracy"], lost["corrected"], lost["curves"]) == (2, None, None, None)
    assert dict(map(tuple, data["outcomes"])) == {"completed": 7, "collapsed": 3}


def test_methods_are_compared_pair_by_pair(tables: tuple[pd.DataFrame, ...]) -> None:
    data = page_data("mine", *tables)
    number = {series["label"]: series["id"] for series in data["networks"][0]["series"]}
    mica, rpi = number["MiCA-ERK"], number["RPI-ERK"]
    found = {(first, second, ratio): rest for first, second, ratio, *rest in data["differences"]}
    assert set(found) == {(mica, rpi, 1), (mica, rpi, 2)}
    # 90 − 60 and 92 − chance; then 70 and 71 − chance: 60.5 ± 12.706 · 0.5, p by t = 121, twice by Holm.
    assert found[mica, rpi, 1][:2] == [2, 56] and found[mica, rpi, 1][-1] == "no difference shown"
    assert found[mica, rpi, 2] == [2, 60.5, 54.147, 66.853, 0.010522, "better"]


def test_it_needs_nothing_but_itself(tables: tuple[pd.DataFrame, ...]) -> None:
    trials, layers, epochs = tables
    named = trials.assign(dataset="</script><b>mine")
    text = page("mine <i>", page_data("mine <i>", named, layers, epochs, [{"trial": "x", "reason": "y"}]))
    assert len(text) < 6_000_000
    assert "<title>mine &lt;i&gt;</title>" in text and "{{" not in text.partition("<script>")[0]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text), "everything is inside"
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    found = json.loads(content)
    assert found["networks"][0]["title"] == "</script><b>mine · mlp"
    assert found["failed"] == [{"trial": "x", "reason": "y"}]


def test_a_sweep_without_a_finished_trial_has_an_empty_page(tables: tuple[pd.DataFrame, ...]) -> None:
    data = page_data("mine", *(table.iloc[:0] for table in tables))
    assert data["networks"] == data["cells"] == []
    assert "mine" in page("mine", data)


def test_masks_alone_have_no_curves(tables: tuple[pd.DataFrame, ...]) -> None:
    trials, layers, epochs = tables
    masks = trials.assign(test_top1=None, test_top1_max=None)
    data = page_data("masks", masks, layers, epochs.iloc[:0])
    assert {cell["curves"] is None and cell["accuracy"] is None for cell in data["cells"]} == {True}
