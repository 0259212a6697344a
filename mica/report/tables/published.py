"""Ours beside the published numbers: how far apart, and whether that is noise."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mica.report.cells.grouping import CELL, by_series, cells, finished
from mica.report.cells.reference import keyed
from mica.report.cells.statistic import WORDS
from mica.report.tables.paired import LEVEL
from mica.report.tables.text_table import TextTable
from mica.wording import counted


def beside_published(trials: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the published, at equal nominal ratio: a row a cell that both have.

    Columns: `dataset`, `model`, those of `Series`, `log10_ratio`, `seeds`, `collapsed`, `last` and `ours`
    (means over seeds of the accuracy after the last epoch, and of the highest of all epochs, percent;
    collapsed seeds at chance, as in the published means), `published`, `difference` (ours − published), `low`
    and `high` (its 95 % interval by Student's t, where the published seeds are taken to vary as ours do; null
    for one seed of ours).
    """
    kept = finished(trials)
    chance = 100 / kept["classes"].astype(float)
    for name in ("test_top1", "test_top1_max"):
        kept[name] = kept[name].where(~kept["collapsed"], chance)
    ours = cells(kept, "test_top1_max").rename(columns={"accuracy": "ours", "accuracy_std": "std"})
    ours = ours.merge(
        cells(kept, "test_top1")[[*CELL, "accuracy"]].rename(columns={"accuracy": "last"}), on=CELL
    )
    theirs = keyed(published).assign(log10_ratio=published["log10_nominal_ratio"].round(6))
    both = keyed(ours).assign(log10_ratio=ours["log10_ratio"].round(6))
    same = ["dataset_name", "model_name", "method", "budget", "log10_ratio"]
    both = both[both["variant"] == ""].merge(theirs.drop(columns=["dataset", "model"]), on=same)
    both = both.rename(columns={"test_top1_percent": "published"}).dropna(subset=["ours"])
    both["difference"] = both["ours"] - both["published"]
    from scipy import stats  # it takes a second to import, and few reports need it

    reach = stats.t.ppf((1 + LEVEL) / 2, both["seeds"] - 1) * both["std"]
    reach *= np.sqrt(1 / both["seeds"] + 1 / both["n_seeds"])
    both["low"], both["high"] = both["difference"] - reach, both["difference"] + reach
    measures = ["seeds", "collapsed", "last", "ours", "published", "difference", "low", "high"]
    return both[[*CELL, *measures]]


def published_tables(found: pd.DataFrame) -> Iterator[TextTable]:
    """`beside_published` for people: a table a data set and network."""
    for (dataset, model), rows in found.groupby(["dataset", "model"]):
        lines = [
            (series.label, *_texts(row)) for series, part in by_series(rows) for _, row in part.iterrows()
        ]
        known = rows[rows["low"].notna()]
        inside = int(((known["low"] <= 0) & (known["high"] >= 0)).sum())
        yield TextTable(
            title=f"{dataset}, {model}: beside the published numbers",
            caption=(
                "Test top-1, %, means over n seeds, collapsed ones at chance. Published numbers are the "
                f"{WORDS['max']}, and so are ours; last: after the last epoch. 95 % interval of the "
                "difference by Student's t, the published seeds taken to vary as ours do: "
                f"it holds 0 in {inside} of {counted(len(known), 'cell')} of more than one seed."
            ),
            head=("method", "ratio", "n", "last", "ours", "published", "difference", "95 % interval"),
            rows=lines,
        )


def _texts(row: pd.Series) -> list[str]:
    interval = "" if pd.isna(row["low"]) else f"{row['low']:+.1f} to {row['high']:+.1f}"
    numbers = [f"{row[name]:.1f}" for name in ("last", "ours", "published")]
    ratio = f"10^{round(row['log10_ratio'], 2):g}"
    return [ratio, f"{row['seeds']}", *numbers, f"{row['difference']:+.1f}", interval]
