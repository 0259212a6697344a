"""Ours beside the published: differences and intervals worked out by hand."""

import pandas as pd
import pytest

from mica.report.tables.published import beside_published, published_tables


@pytest.fixture
def points() -> pd.DataFrame:
    """At 10: MiCA 91.5, RPI 33; at 100: RPI collapsed; and a method that is not among ours."""
    columns = ["dataset", "model", "method", "budget", "log10_nominal_ratio", "corrected_ratio"]
    rows = [
        ("Digits", "MLP", "mica-erk", "nominal", 1.0, 10.0, 91.5, 3),
        ("digits", "mlp", "rpi-erk", "nominal", 1.0, 20.0, 33.0, 3),
        ("digits", "mlp", "rpi-erk", "nominal", 2.0, None, 10.0, 3),
        ("digits", "mlp", "rpi-igq", "nominal", 1.0, 10.0, 80.0, 3),
    ]
    return pd.DataFrame(rows, columns=[*columns, "test_top1_percent", "n_seeds"])


def test_ours_are_compared_at_equal_nominal_ratio(trials: pd.DataFrame, points: pd.DataFrame) -> None:
    found = beside_published(trials, points).set_index(["method", "log10_ratio"])
    assert list(found.index) == [("mica-erk", 1), ("rpi-erk", 1), ("rpi-erk", 2)]
    assert list(found["ours"]) == [92, 35.5, 10], "collapsed seeds count as chance, as in the published means"
    assert list(found["last"]) == [91, 35, 10]
    assert list(found["difference"].round(6)) == [0.5, 2.5, 0]


def test_the_interval_by_hand(trials: pd.DataFrame, points: pd.DataFrame) -> None:
    row = beside_published(trials, points).iloc[0]
    # Seeds 91 and 93: deviation √2; t with 1 degree of freedom is 12.706 at 97.5 %; 2 seeds against 3.
    reach = 12.7062 * 2**0.5 * (1 / 2 + 1 / 3) ** 0.5
    assert row["low"] == pytest.approx(0.5 - reach, abs=1e-3)
    assert row["high"] == pytest.approx(0.5 + reach, abs=1e-3)


def test_one_seed_has_no_interval(trials: pd.DataFrame, points: pd.DataFrame) -> None:
    found = beside_published(trials[trials["seed"] == 0], points)
    assert found["low"].isna().all() and found["difference"].notna().all()
    (table,) = published_tables(found)
    assert "0 of 0 cells" in table.caption


def test_it_reads_as_a_table(trials: pd.DataFrame, points: pd.DataFrame) -> None:
    (table,) = published_tables(beside_published(trials, points))
    assert table.rows[0][:7] == ("MiCA-ERK", "10^1", "2", "91.0", "92.0", "91.5", "+0.5")
    assert "it holds 0 in 3 of 3 cells of more than one seed" in table.caption
