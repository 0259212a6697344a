"""Is a method better, by how much, and how sure: small tables with answers worked out by hand."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from mica.errors import UserError
from mica.report.tables.against import against, against_tables
from mica.report.tables.text_table import TextTable, latex, markdown

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def seeds(make: Make) -> pd.DataFrame:
    """MiCA ahead of RPI by 20, 21, 22 points at 10; RPI collapsed at 100; alike at 1000."""
    rows = []
    for seed in range(3):
        rows += [make("mica-erk", 1, seed, 80.0 + 2 * seed), make("rpi-erk", 1, seed, 60.0 + seed)]
        rows += [make("mica-erk", 2, seed, 50.0 + seed), make("rpi-erk", 2, seed, None)]
        rows += [make("mica-erk", 3, seed, 20.0 + seed), make("rpi-erk", 3, seed, 22.0 - seed)]
        rows += [make("dense", 0, seed, 99.0)]
    return pd.DataFrame(rows)


def test_pairs_by_seed_with_collapsed_ones_at_chance(seeds: pd.DataFrame) -> None:
    found = against(seeds, "rpi-erk")
    assert list(found["method"]) == ["mica-erk"] * 3
    assert list(found["log10_ratio"]) == [1, 2, 3]
    assert list(found["pairs"]) == [3, 3, 3]
    assert list(found["difference"]) == [21, 41, 0]
    # Student's t of 2 degrees of freedom at 97.5 % is 4.3027; deviations 1, 1 and 2.
    assert list(found["high"] - found["difference"]) == pytest.approx(
        [2.484138, 2.484138, 4.968276], abs=1e-5
    )
    assert list(found["verdict"]) == ["better", "better", "no difference shown"]


def test_p_values_are_raised_for_the_number_of_ratios(seeds: pd.DataFrame) -> None:
    alone = against(seeds[seeds["log10_ratio"] == 1], "rpi-erk")["p"].iloc[0]
    # Of three, that at 100 is smaller: this one counts twice.
    assert against(seeds, "rpi-erk")["p"].iloc[0] == pytest.approx(2 * alone)


def test_what_is_sure_alone_but_not_among_all_is_called_perhaps(make: Make) -> None:
    rows = []
    for ratio, gains in ((1, (1.0, 1.3, 1.6)), (2, (-5, 5, 0)), (3, (-5, 5, 1)), (4, (5, -5, 0))):
        for seed, gain in enumerate(gains):
            rows += [make("mica-erk", ratio, seed, 50.0 + gain), make("rpi-erk", ratio, seed, 50.0)]
    found = against(pd.DataFrame(rows), "rpi-erk")
    assert found["verdict"].iloc[0] == "perhaps better" and found["p"].iloc[0] > 0.05


def test_only_seeds_that_both_have_are_pairs(seeds: pd.DataFrame) -> None:
    fewer = seeds[~(seeds["method"].eq("rpi-erk") & seeds["seed"].eq(0))]
    assert list(against(fewer, "rpi-erk")["pairs"]) == [2, 2, 2]


def test_a_worse_one_is_called_worse_and_titles_name_methods(seeds: pd.DataFrame) -> None:
    found = against(seeds, "MiCA-ERK")
    assert list(found["method"].unique()) == ["rpi-erk"] and found["verdict"].iloc[0] == "worse"


def test_corrected_budgets_are_compared_with_the_nominal_ones(seeds: pd.DataFrame, make: Make) -> None:
    more = [make("mica-erk", 1, seed, 90.0, budget="corrected") for seed in range(3)]
    found = against(pd.concat([seeds, pd.DataFrame(more)]), "mica-erk")
    assert set(zip(found["method"], found["budget"], strict=True)) == {
        ("rpi-erk", "nominal"), ("mica-erk", "corrected"),
    }  # fmt: skip


@pytest.mark.parametrize("spelled", ["mica(focus=2)-erk", "mica(focus=2.0)-ERK", "MiCA( focus=2 )-erk"])
def test_a_number_may_be_written_either_way(make: Make, spelled: str) -> None:
    rows = [make(name, 1, seed, 50.0) for name in ("mica(focus=2.0)-erk", "rpi-erk") for seed in (0, 1)]
    assert list(against(pd.DataFrame(rows), spelled)["method"].unique()) == ["rpi-erk"]


def test_an_unknown_method_is_told_which_there_are(seeds: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"no method 'rpi-igq'.*: mica-erk, rpi-erk"):
        against(seeds, "rpi-igq")


def test_it_reads_as_a_table(seeds: pd.DataFrame) -> None:
    (table,) = against_tables(against(seeds, "rpi-erk"), "rpi-erk", "last")
    assert table.title == "digits, mlp: against rpi-erk"
    assert table.rows[0] == ("MiCA-ERK", "10^1", "3", "+21.0", "+18.5 to +23.5", "0.002", "better")
    assert "MiCA-ERK: better at 2, worse at 0 of 3 ratios" in table.caption
    assert "after the last epoch" in table.caption
    assert "| MiCA-ERK | 10^1 | 3 | +21.0 |" in markdown(table)


def test_latex_escapes_and_sets_powers() -> None:
    text = latex(TextTable("a_b", "5 % ± <1", ("method", "10^4.5"), [("x & y", "10^2")]))
    assert r"\caption{a\_b. 5 \% $\pm$ $<$1}" in text
    assert r"method & $10^{4.5}$ \\" in text and r"x \& y & $10^{2}$ \\" in text
