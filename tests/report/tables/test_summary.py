"""Means, collapses and gaps, as numbers and as text to read or paste."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from mica.report.tables.summary import as_latex, as_markdown, rich_table, summary

Make = Callable[..., dict[str, Any]]


def printed(trials: pd.DataFrame, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in rich_table(summary(trials), width=width):
            console.print(part)
    return capture.get()


def row_of(found: pd.DataFrame, method: str, log10_ratio: float) -> pd.Series:
    (index,) = found.index[(found["method"] == method) & (found["log10_ratio"] == log10_ratio)]
    return found.loc[index]


def test_a_row_is_a_cell(trials: pd.DataFrame) -> None:
    found = summary(trials)
    assert len(found) == 5
    row = row_of(found, "mica-erk", 1)
    assert (row["seeds"], row["collapsed"]) == (2, 0)
    assert row["test_top1_mean"] == 91
    assert row["test_top1_std"] == pytest.approx(2**0.5)
    assert row["corrected_ratio"] == pytest.approx(10)
    assert row["functional_share"] == 1


def test_collapsed_seeds_are_counted_and_kept_out_of_the_mean(trials: pd.DataFrame) -> None:
    some, all_of_them = row_of(summary(trials), "rpi-erk", 1), row_of(summary(trials), "rpi-erk", 2)
    assert (some["collapsed"], some["test_top1_mean"], some["functional_share"]) == (1, 60, 0.5)
    assert (all_of_them["collapsed"], all_of_them["functional_share"]) == (2, 0)
    assert pd.isna(all_of_them["test_top1_mean"]) and pd.isna(all_of_them["corrected_ratio"])


def test_failed_trials_are_left_out(trials: pd.DataFrame, make: Make) -> None:
    failed = make("mica-igq", 1, 0, None, outcome="failed", edges_placed=None, edges_functional=None)
    pd.testing.assert_frame_equal(summary(pd.concat([trials, pd.DataFrame([failed])])), summary(trials))


def test_an_empty_table_has_the_columns(trials: pd.DataFrame) -> None:
    found = summary(trials.iloc[:0])
    assert found.empty and list(found) == list(summary(trials))
    assert rich_table(found) == []


def test_it_is_read_at_a_glance(trials: pd.DataFrame) -> None:
    lines = [line.strip() for line in printed(trials).splitlines() if line.strip()]
    assert lines[0] == "digits, mlp: dense 97.5 ± 0.7"
    assert lines[1].split() == ["method", "10^1", "10^2"]
    assert lines[3] == "mica-erk  91.0 ± 1.4  70.5 ± 0.7"
    assert lines[4].split() == ["rpi-erk", "60.0", "collapsed"]
    assert lines[5].split() == ["collapsed", "2/2"]
    assert lines[6] == "1/2"
    assert "after the last epoch" in lines[7] and "2 seeds" in lines[7]


def test_the_statistic_is_the_one_asked_for_and_said(trials: pd.DataFrame) -> None:
    assert row_of(summary(trials, "max"), "mica-erk", 1)["test_top1_mean"] == 92
    assert "Test top-1 highest of all epochs, %" in as_markdown(summary(trials, "max"), "max")


def test_a_caption_says_what_the_ratios_count(trials: pd.DataFrame) -> None:
    assert "columns are nominal compression ratios" in as_markdown(summary(trials))
    assert "columns are corrected compression ratios" in as_markdown(
        summary(trials.assign(target="corrected"))
    )
    both = pd.concat([trials, trials[trials.method == "mica-erk"].assign(target="corrected")])
    assert "columns are nominal or corrected compression ratios" in as_markdown(summary(both))


def test_one_seed_has_no_spread_and_a_cell_not_run_a_dash(make: Make) -> None:
    rows = [make("mica-erk", 1, 0, 90.0), make("rpi-erk", 2, 0, 80.0)]
    text = printed(pd.DataFrame(rows))
    assert "±" not in text
    assert [line.split() for line in text.splitlines() if "-erk" in line] == [
        ["mica-erk", "90.0", "–"],
        ["rpi-erk", "–", "80.0"],
    ]


def test_without_accuracies_it_shows_functional_edges(trials: pd.DataFrame) -> None:
    masks = trials.assign(test_top1=None, test_top1_max=None)
    text = printed(masks)
    assert "Functional edges, %" in text and "dense" not in text
    assert [line.split()[:2] for line in text.splitlines() if "-erk" in line] == [
        ["mica-erk", "100.0"],
        ["rpi-erk", "50.0"],
    ]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_many_ratios_are_broken_into_tables_that_fit(make: Make, width: int) -> None:
    rows = [make("mica-synflow", step / 2, seed, 90.0 - seed) for step in range(1, 13) for seed in (0, 1)]
    text = printed(pd.DataFrame(rows), width)
    assert "…" not in text
    assert text.count("89.5 ± 0.7") == 12


def test_variants_of_a_method_are_rows_of_their_own(trials: pd.DataFrame, make: Make) -> None:
    more = [make("mica-erk", 1, seed, 80.0, rounding="exact") for seed in (0, 1)]
    more += [make("mica-erk", 1, seed, 75.0, budget="corrected") for seed in (0, 1)]
    both = pd.concat([trials, pd.DataFrame(more)])
    text = printed(both)
    names = [
        "mica-erk (rounding floor)",
        "mica-erk (rounding exact)",
        "mica-erk (corrected)",
        "rpi-erk ",
    ]
    assert all(text.count(name) == 1 for name in names)


def test_methods_with_options_are_rows_of_their_own(trials: pd.DataFrame, make: Make) -> None:
    titled = make("mica(node_counts=min)-erk", 1, 0, 80.0, pruner_title="MiCA min")
    both = pd.concat([trials, pd.DataFrame([make("mica(node_counts=max)-erk", 1, 0, 85.0), titled])])
    rows = [
        line.split("  ")[0].strip() for line in printed(both).splitlines() if "80.0" in line or "85" in line
    ]
    assert rows == ["mica(node_counts=max)-erk", "MiCA min-ERK"]
    pasted = as_markdown(summary(both))
    assert "| MiCA-ERK (node_counts=max) | 85.0 |" in pasted and "| MiCA min-ERK | 80.0 |" in pasted
    assert "| MiCA-ERK | 91.0 ± 1.4 |" in pasted


def test_a_title_that_only_some_of_the_records_know_is_the_method_s(trials: pd.DataFrame) -> None:
    trials.loc[trials["method"].eq("mica-erk") & trials["seed"].eq(0), "pruner_title"] = "Ours"
    assert printed(trials).count("Ours-ERK") == 1 and "mica-erk" not in printed(trials)


def test_markdown_has_a_row_a_method_and_none_in_bold(trials: pd.DataFrame) -> None:
    assert as_markdown(summary(trials)).splitlines()[:6] == [
        "**digits, mlp: dense 97.5 ± 0.7**",
        "",
        "| method | 10^1 | 10^2 |",
        "| --- | ---: | ---: |",
        "| MiCA-ERK | 91.0 ± 1.4 | 70.5 ± 0.7 |",
        "| RPI-ERK | 60.0 (collapsed 1/2) | collapsed 2/2 |",
    ]


def test_latex_is_a_float_with_a_caption(trials: pd.DataFrame) -> None:
    trials["dataset"] = "my_digits & 50%"
    begin, centred, caption, *lines = as_latex(summary(trials)).splitlines()
    assert (begin, centred) == (r"\begin{table}", r"\centering")
    assert caption.startswith(r"\caption{my\_digits \& 50\%, mlp: dense 97.5 $\pm$ 0.7. Test top-1 after")
    assert lines == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"method & $10^{1}$ & $10^{2}$ \\",
        r"\midrule",
        r"MiCA-ERK & 91.0 $\pm$ 1.4 & 70.5 $\pm$ 0.7 \\",
        r"RPI-ERK & 60.0 (collapsed 1/2) & collapsed 2/2 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
