"""Two sweeps beside each other: what is equal, what is noise, what is neither."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from mica.report.tables.comparison import compare, comparison_table

Make = Callable[..., dict[str, Any]]


def verdicts(first: pd.DataFrame, second: pd.DataFrame) -> dict[tuple[str, float], str]:
    found = compare(first, second)
    keys = zip(found["method"], found["log10_ratio"], strict=True)
    return dict(zip(keys, found["verdict"], strict=True))


def changed(trials: pd.DataFrame, method: str, log10_ratio: float, *gains: float) -> pd.DataFrame:
    """The same trials, but for what was added to each seed's accuracy in one cell."""
    found = trials.copy()
    cell = found["method"].eq(method) & found["log10_ratio"].eq(log10_ratio)
    found.loc[cell, "test_top1"] = found.loc[cell, "test_top1"] + list(gains)
    return found


def test_the_same_is_equal_wherever_it_ran(trials: pd.DataFrame) -> None:
    elsewhere = trials.sample(frac=1, random_state=0).assign(sweep="other", host="elsewhere")
    assert set(verdicts(trials, elsewhere).values()) == {"equal"}
    table = comparison_table(compare(trials, elsewhere), ("a", "b"), "last")
    assert table.title == "a and b: 5 equal" and not table.rows


@pytest.mark.parametrize(("gains", "verdict"), [
    ((1, -1), "within noise"), ((0, 0.5), "within noise"), ((2, 2), "different"), ((-30, -31), "different"),
])  # fmt: skip
def test_a_difference_is_noise_where_its_interval_holds_zero(
    trials: pd.DataFrame, gains: tuple[float, ...], verdict: str
) -> None:
    found = verdicts(trials, changed(trials, "mica-erk", 1, *gains))
    assert found.pop(("mica-erk", 1)) == verdict
    assert set(found.values()) == {"equal"}


def test_one_seed_knows_no_noise(trials: pd.DataFrame) -> None:
    one = trials[trials["seed"] == 0]
    assert verdicts(one, changed(one, "mica-erk", 1, 0.1))["mica-erk", 1] == "different"


def test_another_mask_is_no_equal_even_where_nothing_was_trained(trials: pd.DataFrame) -> None:
    alive = trials[trials["outcome"] == "completed"]
    masks = alive.assign(test_top1=None, test_top1_max=None)
    other = masks.assign(edges_functional=masks["edges_functional"] + 1)
    assert set(verdicts(masks, other).values()) == {"different"}


def test_a_seed_that_collapses_in_one_alone_counts_as_chance(trials: pd.DataFrame) -> None:
    found = compare(trials, trials.replace({"test_top1": {92.0: None}}).assign(
        outcome=trials["outcome"].mask(trials["test_top1"].eq(92.0), "collapsed"))
    ).set_index(["method", "log10_ratio"])  # fmt: skip
    assert found.loc[("mica-erk", 1), "second"] == pytest.approx((90 + 10) / 2)


def test_what_only_one_has_is_said(trials: pd.DataFrame) -> None:
    fewer = trials[trials["log10_ratio"] < 2]
    assert verdicts(trials, fewer)["mica-erk", 2] == "only in the first"
    assert verdicts(fewer, trials)["mica-erk", 2] == "only in the second"
    found = compare(fewer, trials).set_index(["method", "log10_ratio"])
    assert found.loc[("mica-erk", 2), "second"] == 70.5 and pd.isna(found.loc[("mica-erk", 2), "first"])


def test_it_reads_as_a_table(trials: pd.DataFrame) -> None:
    found = compare(trials, changed(trials, "mica-erk", 1, 3, 3))
    table = comparison_table(found, ("old", "new"), "last")
    assert table.title == "old and new: 4 equal, 1 different"
    assert table.rows == [("digits mlp MiCA-ERK", "10^1", "2", "91.0", "94.0", "+3.0", "different")]
