"""What the HTML page shows, as plain numbers and texts."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mica.report.cells.grouping import CELL, SERIES, cells, finished
from mica.report.cells.series import Series
from mica.report.cells.statistic import COLUMN, WORDS, Statistic
from mica.report.tables.against import compared, differences

_SYMBOLS = {
    "o": "circle", "D": "diamond", "s": "square", "^": "triangle-up", "v": "triangle-down",
    "<": "triangle-left", ">": "triangle-right", "X": "x", "P": "cross", "*": "star", "p": "pentagon",
    "d": "diamond-tall", "h": "hexagon",
}  # fmt: skip
"""matplotlib's markers → plotly's."""
_CURVES = {"train": "train_top1", "val": "val_top1", "test": "test_top1", "loss": "train_loss"}
_LAYERS = ("edges", "budget", "placed", "functional", "nodes_in", "nodes_out")


def page_data(
    name: str,
    trials: pd.DataFrame,
    layers: pd.DataFrame,
    epochs: pd.DataFrame,
    failed: Iterable[Mapping[str, str]] = (),
    statistic: Statistic = "last",
) -> dict[str, Any]:
    """Networks with their series, cells with their seeds, layers and training curves, and how trials ended.

    Args:
        trials, layers, epochs: the tables; of the latter two what belongs to these trials.
        failed: what the failed trials were and why, as `trial` and `reason`.
    """
    kept = finished(trials)
    kept["accuracy"] = kept[COLUMN[statistic]].astype(float)
    rows = cells(kept, "accuracy").sort_values([*CELL], kind="stable").reset_index(drop=True)
    kept = kept.merge(rows[CELL].assign(cell=rows.index), on=CELL)
    series = {key: number for number, key in enumerate(rows.groupby(["dataset", "model", *SERIES]).groups)}
    outcomes = trials["outcome"].value_counts()
    return {
        "summary": f"{name}: {len(trials):,} trials that have ended, {len(rows):,} cells.",
        "statistic": WORDS[statistic],
        "networks": _networks(kept, series),
        "cells": _cells(rows, kept, layers, epochs, series),
        "differences": _differences(compared(trials, statistic), series),
        "outcomes": [[str(word), int(count)] for word, count in outcomes.items()],
        "failed": [dict(each) for each in failed],
    }


def _networks(kept: pd.DataFrame, series: Mapping[Any, int]) -> list[dict[str, Any]]:
    found = []
    for (dataset, model), rows in kept.groupby(["dataset", "model"]):
        lines = [
            (Series(**dict(zip(SERIES, key[2:], strict=True))), number)
            for key, number in series.items()
            if key[:2] == (dataset, model)
        ]
        lines.sort(key=lambda pair: (pair[0].method == "dense", pair[0].order))
        ratios = rows.loc[rows["method"] != "dense", "log10_ratio"]
        found.append({
            "title": f"{dataset} · {model}",
            "chance": 100 / float(rows["classes"].max()),
            "seeds": sorted({int(seed) for seed in rows["seed"]}),
            "range": [float(ratios.min()), float(ratios.max())] if len(ratios) else [0.0, 1.0],
            "series": [_look(each, number) for each, number in lines],
        })  # fmt: skip
    return found


def _look(series: Series, number: int) -> dict[str, Any]:
    dash = "solid" if series.line == "-" else ",".join(f"{2 * length:g}px" for length in series.line[1])
    return {
        "id": number,
        "label": series.label,
        "dense": series.method == "dense",
        "colour": series.colour,
        "dash": dash,
        "symbol": _SYMBOLS[series.marker],
    }


def _cells(
    rows: pd.DataFrame,
    kept: pd.DataFrame,
    layers: pd.DataFrame,
    epochs: pd.DataFrame,
    series: Mapping[Any, int],
) -> list[dict[str, Any]]:
    trials: dict[Any, pd.DataFrame] = dict(list(kept.groupby("cell")))
    cell_of = kept[["trial_key", "cell"]]
    means = layers.merge(cell_of, on="trial_key")
    of_layers = dict(list(means.groupby(["cell", "name"], sort=False)[list(_LAYERS)].mean().groupby("cell")))
    means = epochs.merge(cell_of, on="trial_key")
    curves: dict[Any, pd.DataFrame] = dict(
        list(means.groupby(["cell", "epoch"])[list(_CURVES.values())].mean().groupby("cell"))
    )
    found = []
    for number, row in rows.iterrows():
        mine = trials[number]
        found.append({
            "series": series[tuple(row[["dataset", "model", *SERIES]])],
            "ratio": _number(row["log10_ratio"]),
            "corrected": _number(row["x"]),
            "accuracy": _number(row["accuracy"]),
            "spread": _number(0.0 if pd.isna(row["accuracy_std"]) else row["accuracy_std"]),
            "edges": _number(row["share"]),
            "edges_spread": _number(0.0 if pd.isna(row["share_std"]) else row["share_std"]),
            "nodes": _number(row["nodes"]),
            "nodes_spread": _number(0.0 if pd.isna(row["nodes_std"]) else row["nodes_std"]),
            "collapsed": int(row["collapsed"]),
            "diverged": int(mine["outcome"].eq("diverged").sum()),
            "seconds": _number((mine["seconds_mask"] + mine["seconds_train"]).mean()),
            "seconds_mask": _number(mine["seconds_mask"].mean()),
            "mflops": [_number(mine[f"flops_{kind}"].astype(float).mean() / 1e6)
                       for kind in ("dense", "masked", "compact")],
            "seeds": [
                {"seed": int(one["seed"]), "accuracy": _number(one["accuracy"]), "outcome": one["outcome"],
                 "corrected": _number(one["log10_corrected"])}
                for _, one in mine.sort_values("seed").iterrows()
            ],
            "layers": [[str(name[1]), *map(_number, values)] for name, values in _items(of_layers, number)],
            "curves": _curves(curves.get(number)),
        })  # fmt: skip
    return found


def _differences(trials: pd.DataFrame, series: Mapping[Any, int]) -> list[list[Any]]:
    """Of each two series of a network, ratio by ratio: the first's − the second's, see `against`.

    A row: first, second, log10 ratio, pairs, mean, low, high, p, verdict.
    """
    keys, found = ["dataset", "model", *SERIES], []
    places = [series[key] for key in trials[keys].itertuples(index=False, name=None)]
    number = pd.Series(places, trials.index, dtype=int)
    for second in sorted(set(number)):
        for row in differences(trials[number < second], trials[number == second]).to_dict("records"):
            first = series[tuple(row[key] for key in keys)]
            numbers = (_number(row[name]) for name in ("difference", "low", "high", "p"))
            found.append([first, second, row["log10_ratio"], row["pairs"], *numbers, row["verdict"]])
    return found


def _items(tables: Mapping[Any, pd.DataFrame], number: Any) -> list[tuple[Any, np.ndarray]]:
    table = tables.get(number)
    return [] if table is None else list(zip(table.index, table.to_numpy(), strict=True))


def _curves(means: pd.DataFrame | None) -> dict[str, list[float | None]] | None:
    if means is None or means.empty:
        return None
    return {name: [_number(value) for value in means[column]] for name, column in _CURVES.items()}


def _number(value: Any) -> float | None:
    """With as many digits as a page needs; None where there is none."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")
