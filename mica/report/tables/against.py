"""Is a method better than another here, by how much, and how sure: paired by seed, ratio by ratio."""

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from mica.errors import UserError
from mica.report.cells.grouping import SERIES, finished
from mica.report.cells.series import Series
from mica.report.cells.statistic import COLUMN, WORDS, Statistic
from mica.report.tables.paired import holm, paired
from mica.report.tables.text_table import TextTable
from mica.wording import counted

_SURE = 0.05


def against(trials: pd.DataFrame, reference: str, statistic: Statistic = "last") -> pd.DataFrame:
    """Each method's accuracy − the reference's, on the same data, network, nominal ratio and seeds.

    A collapsed trial counts as chance. Columns: `dataset`, `model`, those of `Series`, `log10_ratio`,
    `pairs`, `difference` (percentage points, mean over the pairs), `low` and `high` (of its 95 % interval),
    `p` (raised by Holm over all ratios of one data set, network and method), `verdict`.

    Raises:
        UserError: no method of these trials is called that.
    """
    kept = compared(trials, statistic)
    theirs = kept["method"].eq(_method(kept, reference)) & _plain(kept)
    return differences(kept[~theirs], kept[theirs])


def compared(trials: pd.DataFrame, statistic: Statistic) -> pd.DataFrame:
    """The trials that can be compared, their accuracy as `value`: a collapsed one's is chance."""
    kept = finished(trials)
    kept = kept[kept["method"] != "dense"]
    chance = 100 / kept["classes"].astype(float)
    kept["value"] = kept[COLUMN[statistic]].astype(float).where(~kept["collapsed"], chance)
    return kept.dropna(subset=["value"])


def differences(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Of each method of `ours` to the only one of `theirs`, both as `compared` gives them; see `against`."""
    same = ["dataset", "model", "log10_ratio", "seed"]
    pairs = ours.merge(theirs[[*same, "value"]], on=same, suffixes=("", "_theirs"))
    rows = []
    for family, of_method in pairs.groupby(["dataset", "model", *SERIES]):
        found = [
            (ratio, paired(cell["value"].tolist(), cell["value_theirs"].tolist()))
            for ratio, cell in of_method.groupby("log10_ratio")
        ]
        for (ratio, difference), p in zip(found, holm([each.p for _, each in found]), strict=True):
            verdict = "no difference shown"
            if difference.shown and p is not None:
                word = "better" if difference.mean > 0 else "worse"
                verdict = word if p < _SURE else f"perhaps {word}"
            numbers = (difference.pairs, difference.mean, difference.low, difference.high, p)
            rows.append((*family, ratio, *numbers, verdict))
    numbered = ["log10_ratio", "pairs", "difference", "low", "high", "p", "verdict"]
    return pd.DataFrame(rows, columns=["dataset", "model", *SERIES, *numbered])


def against_tables(found: pd.DataFrame, reference: str, statistic: Statistic) -> Iterator[TextTable]:
    """A table a data set and network, for people."""
    for (dataset, model), rows in found.groupby(["dataset", "model"]):
        methods = [
            (Series(**part.iloc[0][SERIES]), part.sort_values("log10_ratio"))
            for _, part in rows.groupby(SERIES)
        ]
        methods.sort(key=lambda pair: pair[0].order)
        yield TextTable(
            title=f"{dataset}, {model}: against {reference}",
            caption=_caption(statistic, methods),
            head=("method", "ratio", "n", "points", "95 % interval", "p", "verdict"),
            rows=[(series.label, *_texts(row)) for series, part in methods for _, row in part.iterrows()],
        )


def _texts(row: pd.Series) -> list[str]:
    interval = "" if pd.isna(row["low"]) else f"{row['low']:+.1f} to {row['high']:+.1f}"
    p = "" if pd.isna(row["p"]) else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
    ratio = f"10^{round(row['log10_ratio'], 2):g}"
    return [ratio, f"{row['pairs']}", f"{row['difference']:+.1f}", interval, p, row["verdict"]]


def _caption(statistic: Statistic, methods: Sequence[tuple[Series, pd.DataFrame]]) -> str:
    told = []
    for series, rows in methods:
        better, worse = (int(rows["verdict"].eq(word).sum()) for word in ("better", "worse"))
        told.append(f"{series.label}: better at {better}, worse at {worse} of {counted(len(rows), 'ratio')}")
    return (
        f"Difference of test top-1 {WORDS[statistic]}, percentage points, n pairs of one seed, at equal "
        "nominal ratio; collapsed trials count as chance. Intervals by Student's t; p raised by Holm over a "
        f"method's ratios; perhaps: the interval leaves out 0, but p is not below {_SURE}. {'; '.join(told)}."
    )


def _plain(trials: pd.DataFrame) -> pd.Series:
    return trials["budget"].eq("nominal") & trials["variant"].eq("")


def _spelled(name: str) -> str:
    """In one of the ways to write it: `power=2` is `power=2.0`."""
    return re.sub(r"(?<=[=\[,])(-?\d+)\.0(?=[,)\]])", r"\1", name.lower().replace(" ", ""))


def _method(trials: pd.DataFrame, reference: str) -> str:
    """The method that is called that, by its name or as the paper writes it."""
    found = trials.loc[_plain(trials), SERIES].drop_duplicates()
    series = [Series(**row) for _, row in found.iterrows()]
    for each in series:
        if _spelled(reference) in map(_spelled, (each.method, each.name, each.label)):
            return each.method
    known = ", ".join(sorted(each.method for each in series)) or "none that has finished"
    raise UserError(f"no method {reference!r} to compare with; there are: {known}")
