"""Published points to draw beside ours and to check ours against; never required."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mica.errors import DataError, UserError
from mica.models import models
from mica.pruning.methods import parse_method
from mica.report.cells.grouping import SERIES
from mica.report.cells.series import Series

log = logging.getLogger(__name__)

PUBLISHED = "MICA_PUBLISHED"
"""Environment variable: path of a CSV of published points."""

COLUMNS = (
    "dataset",
    "model",
    "method",
    "budget",
    "log10_nominal_ratio",
    "corrected_ratio",
    "test_top1_percent",
    "n_seeds",
)
"""Of the CSV. Accuracies are means over seeds of the highest over epochs, in percent."""


def published_points(path: Path | str | None = None) -> pd.DataFrame | None:
    """The points of a CSV; without a path, of the one that `MICA_PUBLISHED` names; without that, None.

    Raises:
        DataError: the file cannot be read, or a column is missing.
    """
    place = path or os.environ.get(PUBLISHED)
    if not place:
        return None
    try:
        points = pd.read_csv(Path(place).expanduser())
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: published points cannot be read: {error}") from error
    missing = [name for name in COLUMNS if name not in points]
    if missing:
        raise DataError(
            f"{place}: column {', '.join(missing)} is missing; found {', '.join(map(str, points.columns))}, "
            f"allowed are {', '.join(COLUMNS)}"
        )
    return _checked(points, place)


def _checked(points: pd.DataFrame, place: Path | str) -> pd.DataFrame:
    """Numbers that are numbers and percentages that are some; each row's network and method is known."""
    found = points.copy()
    for name in ("log10_nominal_ratio", "corrected_ratio", "test_top1_percent", "n_seeds"):
        found[name] = pd.to_numeric(points[name], errors="coerce")
        bad = points.index[found[name].isna() & (points[name].notna() | (name != "corrected_ratio"))]
        if len(bad):
            value = points[name][bad[0]]
            text = "nothing" if pd.isna(value) else repr(value)
            raise DataError(f"{place}:{bad[0] + 2}: {name}: found {text}; allowed is a number")
    percent = found["test_top1_percent"]
    if len(percent) and not percent.between(0, 100).all():
        bad = found.index[~percent.between(0, 100)]
        raise DataError(
            f"{place}:{bad[0] + 2}: test_top1_percent: found {percent[bad[0]]}; allowed are 0 to 100"
        )
    if len(percent) and percent.max() <= 1:
        raise DataError(
            f"{place}: test_top1_percent: found at most {percent.max()}: fractions, not percentages"
        )
    for column, known in (("model", _is_model), ("method", _is_method)):
        for name in found[column].unique():
            if not known(str(name)):
                rows = found.index[found[column] == name] + 2
                log.warning("%s: %s %r is unknown; first on line %d", place, column, name, rows[0])
    return found


def _is_model(name: str) -> bool:
    return ":" in name or _plain(name) in map(_plain, models.names())


def _is_method(name: str) -> bool:
    try:
        return ":" in name or bool(parse_method(name))
    except UserError:
        return False


def published_series(
    published: pd.DataFrame | None, trials: pd.DataFrame
) -> list[tuple[Series, pd.DataFrame]]:
    """The published points of the methods in `trials`, which are of one data set and model.

    Columns: `x` (log10 of the corrected ratio), `accuracy`. Points without a functional edge are left out.
    """
    if published is None or trials.empty:
        return []
    same = (published["dataset"].map(_plain) == _plain(trials["dataset"].iloc[0])) & (
        published["model"].map(_plain) == _plain(trials["model"].iloc[0])
    )
    points = published[same & published["corrected_ratio"].notna()]
    points = points.assign(x=np.log10(points["corrected_ratio"]), accuracy=points["test_top1_percent"])
    ours = trials.loc[trials["variant"] == "", SERIES].drop_duplicates()
    points = points[["method", "budget", "x", "accuracy"]].merge(ours, on=["method", "budget"])
    return [(Series(**rows.iloc[0][SERIES]), rows) for _, rows in points.groupby(SERIES)]


def keyed(table: pd.DataFrame) -> pd.DataFrame:
    """With `dataset_name` and `model_name`, which are equal however names are spelled."""
    return table.assign(dataset_name=table["dataset"].map(_plain), model_name=table["model"].map(_plain))


def _plain(name: object) -> str:
    """`CIFAR-10` and `cifar10` are one name."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
