"""Cells: the trials that differ in their seed alone, seen together."""

import dataclasses
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from mica.report.cells.series import COLOURS, Series

SERIES = [field.name for field in dataclasses.fields(Series)]
"""What a line of a figure, a row of a table is told apart by, and called."""
CELL = ["dataset", "model", *SERIES, "log10_ratio"]
"""What a cell's trials have in common."""

_MEASURES = ("accuracy", "share", "nodes")

_TELLING = re.compile(r"rounding|target|wiring|protocol[._].*")
"""Columns that may hold a grid's further axes."""

_UNSAID = {"rounding": "floor", "target": "nominal", "wiring": "kept", "protocol_initial_weights": "drawn"}
"""The defaults of some of them, which go without saying: others are named, where methods differ."""


def finished(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that left a mask, with the columns that reports add.

    `variant`: what else tells a method's trials apart (`rounding exact`), empty where nothing does;
    `unlike`: what all of them have, and other methods' have not;
    `ambiguous`, `spare_look`, `spare_colour`: as `Series` has them, the same in every figure;
    `log10_corrected`: null when infinite; `functional_share`: functional / placed edges, 0 when none
    is placed.
    """
    kept = trials[trials["outcome"] != "failed"].reset_index(drop=True)
    kept["variant"] = _variants(kept)
    kept["unlike"] = _unlike(kept)
    for column in ("pruner_title", "distribution_title"):
        # A record knows the title that its own sweep file gave; a method has one in a report.
        kept[column] = kept[column].fillna("").astype(str).groupby(kept["method"]).transform("max")
    for column in ("corrected_ratio", "test_top1", "test_top1_max", "functional_node_share"):
        kept[column] = kept[column].astype(float) if column in kept else np.nan
    kept["log10_corrected"] = np.log10(kept["corrected_ratio"])
    placed = kept["edges_placed"].astype(float)
    kept["functional_share"] = (kept["edges_functional"].astype(float) / placed).where(placed > 0, 0.0)
    kept["collapsed"] = kept["outcome"] == "collapsed"
    return _with_looks(kept)


def _with_looks(trials: pd.DataFrame) -> pd.DataFrame:
    """What a series is called and looks like depends on which others there are."""
    plain = [name for name in SERIES if name not in ("ambiguous", "spare_look", "spare_colour")]
    found = trials[plain].drop_duplicates()
    series = [Series(**dict(zip(plain, row, strict=True))) for row in found.itertuples(index=False)]
    labels = Counter(each.label for each in series)
    looks = sorted({each.special for each in series} - {""})
    colours = sorted({each.group for each in series} - COLOURS.keys())
    found["ambiguous"] = [labels[each.label] > 1 for each in series]
    found["spare_look"] = [1 + looks.index(each.special) if each.special else 0 for each in series]
    found["spare_colour"] = [1 + colours.index(each.group) if each.group in colours else 0 for each in series]
    return trials.merge(found, on=plain, how="left")


def _variants(trials: pd.DataFrame) -> pd.Series:
    """What tells the trials of one method apart beside ratio and seed, in words."""
    found = pd.Series("", index=trials.index, dtype=object)
    columns = [str(column) for column in trials.columns if _TELLING.fullmatch(str(column))]
    for _, rows in trials.groupby(["dataset", "model", "method", "budget"]):
        words = pd.Series("", index=rows.index, dtype=object)
        for column in columns:
            if rows[column].nunique(dropna=False) > 1:
                said = f", {_axis(column)} " + rows[column].astype(str)
                words += said.where(rows[column].notna(), "")
        found.loc[rows.index] = words.str.removeprefix(", ")
    return found


def _unlike(trials: pd.DataFrame) -> pd.Series:
    """Where methods of one data set and model differ: what one has that is not as by default, in words."""
    words = pd.Series("", index=trials.index, dtype=object)
    table = ["dataset", "model"]
    for column, unsaid in _UNSAID.items():
        if column in trials and len(trials):
            values = trials[column]
            differ = trials.groupby(table)[column].transform("nunique") > 1
            alike = trials.groupby([*table, "method", "budget"])[column].transform("nunique") == 1
            said = f", {_axis(column)} " + values.astype(str)
            words += said.where(differ & alike & values.notna() & values.ne(unsaid), "")
    return words.str.removeprefix(", ")


def _axis(column: str) -> str:
    return re.sub(r"^protocol[._]", "", column)


def cells(kept: pd.DataFrame, accuracy: str = "test_top1") -> pd.DataFrame:
    """A row a cell, from `finished` trials.

    Columns beside those of `CELL`: `seeds`, `collapsed` (how many), `x` (mean log10 corrected ratio of
    those that did not collapse), and of three things the mean, the sample's standard deviation `…_std`, and
    the mean minus and plus that, `…_low` and `…_high` (a single seed has none): `accuracy` (of the column
    asked for, percent), `share` and `nodes` (functional edges and nodes, percent); null where there is
    nothing to average.
    """
    values = kept.assign(
        accuracy=kept[accuracy],
        share=100 * kept["functional_share"],
        nodes=100 * kept["functional_node_share"],
    )
    columns: dict[str, Any] = {
        "seeds": ("seed", "size"),
        "collapsed": ("collapsed", "sum"),
        "x": ("log10_corrected", "mean"),
    }
    for name in _MEASURES:
        columns |= {name: (name, "mean"), f"{name}_std": (name, "std")}
    found: pd.DataFrame = values.groupby(CELL, as_index=False, sort=True).agg(**columns)
    for name in _MEASURES:
        spread = found[f"{name}_std"].fillna(0.0)
        found[f"{name}_low"] = (found[name] - spread).clip(lower=0)
        found[f"{name}_high"] = (found[name] + spread).clip(upper=100)
    return found


def by_series(rows: pd.DataFrame) -> list[tuple[Series, pd.DataFrame]]:
    """The cells of one data set and model, a method at a time, each sorted by ratio; dense left out."""
    found = [
        (Series(**part.iloc[0][SERIES]), part.sort_values("log10_ratio"))
        for _, part in rows[rows["method"] != "dense"].groupby(SERIES)
    ]
    return sorted(found, key=lambda pair: pair[0].order)


def seeds_title(rows: pd.DataFrame) -> str:
    """`3 seeds`, or `1 to 3 seeds` where cells differ, as they do while a sweep runs."""
    if rows.empty:
        return "0 seeds"
    low, high = int(rows["seeds"].min()), int(rows["seeds"].max())
    if low != high:
        return f"{low} to {high} seeds"
    return "1 seed" if high == 1 else f"{high} seeds"
