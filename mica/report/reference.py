"""Published points to draw beside ours and to check ours against; never required."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mica.errors import DataError
from mica.report.appearance import Series
from mica.report.cells import SERIES, cells, finished

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
    return points


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


def compare(trials: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the published, at equal nominal ratio: a row a cell that both have.

    `ours` is the mean over seeds of `test_top1_max`, collapsed seeds at chance as in the published
    means; `difference` is ours − published, in percentage points.
    """
    kept = finished(trials)
    chance = 100 / kept["classes"].astype(float)
    kept["test_top1_max"] = kept["test_top1_max"].where(~kept["collapsed"], chance)
    ours = cells(kept, "test_top1_max")
    theirs = published.assign(
        dataset_name=published["dataset"].map(_plain),
        model_name=published["model"].map(_plain),
        log10_ratio=published["log10_nominal_ratio"].round(6),
    )
    both = ours.assign(
        dataset_name=ours["dataset"].map(_plain),
        model_name=ours["model"].map(_plain),
        log10_ratio=ours["log10_ratio"].round(6),
    ).merge(
        theirs.drop(columns=["dataset", "model"]),
        on=["dataset_name", "model_name", "method", "budget", "log10_ratio"],
    )
    both = both.rename(columns={"accuracy": "ours", "test_top1_percent": "published"})
    both["difference"] = both["ours"] - both["published"]
    names = ["dataset", "model", "method", "budget", "variant", "log10_ratio"]
    return both[[*names, "seeds", "collapsed", "ours", "published", "difference"]].dropna(subset=["ours"])


def _plain(name: object) -> str:
    """`CIFAR-10` and `cifar10` are one name."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
