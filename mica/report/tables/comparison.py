"""Two sweeps, stores or versions beside each other, cell by cell."""

import pandas as pd

from mica.report.cells.grouping import CELL, SERIES, finished
from mica.report.cells.series import Series
from mica.report.cells.statistic import COLUMN, WORDS, Statistic
from mica.report.tables.paired import paired
from mica.report.tables.text_table import TextTable

EQUAL, NOISE, DIFFERENT = "equal", "within noise", "different"
ONLY_FIRST, ONLY_SECOND = "only in the first", "only in the second"
GOOD = (EQUAL, NOISE)
"""What a gate lets through."""

_NUMBERS = (
    "outcome",
    "edges_placed",
    "edges_functional",
    "test_top1",
    "test_top1_at_best_val",
    "test_top1_max",
)


def compare(first: pd.DataFrame, second: pd.DataFrame, statistic: Statistic = "last") -> pd.DataFrame:
    """A row a cell of either: a method on one data set and network at one nominal ratio.

    Columns: `dataset`, `model`, those of `Series`, `log10_ratio`, `seeds` (that both have), `first` and
    `second` (mean accuracy over those, percent, a collapsed trial at chance; over all its seeds where one
    alone has the cell), `difference` (second − first), and `verdict`, one of:
    - `equal`: outcome, edges and every accuracy of each seed are the same;
    - `within noise`: the 95 % interval of the difference, paired by seed, holds 0;
    - `different`: it does not, or there is one seed, which knows no noise;
    - `only in the first`, `only in the second`.
    """
    both = pd.concat([first.assign(side=0), second.assign(side=1)], ignore_index=True)
    kept = finished(both)
    chance = 100 / kept["classes"].astype(float)
    kept["value"] = kept[COLUMN[statistic]].astype(float).where(~kept["collapsed"], chance)
    rows = [(*cell, *_compared(of_cell)) for cell, of_cell in kept.groupby(CELL)]
    return pd.DataFrame(rows, columns=[*CELL, "seeds", "first", "second", "difference", "verdict"])


def _compared(trials: pd.DataFrame) -> tuple[int, float | None, float | None, float | None, str]:
    sides = [
        trials[trials["side"] == side].drop_duplicates("seed").set_index("seed").sort_index()
        for side in (0, 1)
    ]
    for side, verdict in ((1, ONLY_FIRST), (0, ONLY_SECOND)):
        if sides[side].empty:
            mean = _mean(sides[1 - side]["value"])
            return (0, mean, None, None, verdict) if side else (0, None, mean, None, verdict)
    seeds = sides[0].index.intersection(sides[1].index)
    if seeds.empty:
        return 0, _mean(sides[0]["value"]), _mean(sides[1]["value"]), None, DIFFERENT
    one, other = (side.loc[seeds] for side in sides)
    numbers = [name for name in _NUMBERS if name in one]
    if one[numbers].equals(other[numbers]):
        verdict = EQUAL
    elif one["value"].isna().any() or other["value"].isna().any():
        verdict = DIFFERENT  # masks alone, of other edges
    else:
        found = paired(other["value"].tolist(), one["value"].tolist())
        verdict = NOISE if found.pairs > 1 and not found.shown else DIFFERENT
    means = _mean(one["value"]), _mean(other["value"])
    difference = None if None in means else _mean(other["value"] - one["value"])
    return len(seeds), *means, difference, verdict


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().any() or values.empty else float(values.mean())


def comparison_table(found: pd.DataFrame, names: tuple[str, str], statistic: Statistic) -> TextTable:
    """For people: the cells that are not equal, and how many of each verdict there are."""
    counts = found["verdict"].value_counts()
    told = ", ".join(
        f"{counts[word]} {word}" for word in (*GOOD, DIFFERENT, ONLY_FIRST, ONLY_SECOND) if word in counts
    )
    unequal = found[found["verdict"] != EQUAL]
    return TextTable(
        title=f"{names[0]} and {names[1]}: {told or 'no finished trial in either'}",
        caption=(
            f"Cells that are not equal. Test top-1 {WORDS[statistic]}, %, collapsed trials at chance, over "
            "the n seeds that both have. Within noise: the 95 % interval of the difference, paired, holds 0."
            if len(unequal) else "Every outcome, edge count and accuracy of every seed is the same."
        ),
        head=("cell", "ratio", "n", "first", "second", "difference", "verdict"),
        rows=[_texts(row) for _, row in unequal.iterrows()],
    )  # fmt: skip


def _texts(row: pd.Series) -> tuple[str, ...]:
    label = Series(**row[SERIES]).label
    numbers = [f"{row[name]:.1f}" if pd.notna(row[name]) else "" for name in ("first", "second")]
    difference = f"{row['difference']:+.1f}" if pd.notna(row["difference"]) else ""
    cell = f"{row['dataset']} {row['model']} {label}"
    return (
        cell,
        f"10^{round(row['log10_ratio'], 2):g}",
        f"{row['seeds']}",
        *numbers,
        difference,
        row["verdict"],
    )
