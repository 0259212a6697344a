"""Differences between methods that share their seeds: how large, and how sure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean difference of pairs."""

    pairs: int
    mean: float
    low: float | None
    """Of the 95 % interval by Student's t over the pairs; `high` likewise. None for a single pair."""
    high: float | None
    p: float | None
    """Of the paired t-test, two-sided; None for a single pair."""

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours − theirs, pair by pair; raises `ValueError` without a pair, or where there are more of one."""
    differences = np.subtract(ours, theirs, dtype=np.float64)
    if len(ours) != len(theirs) or not len(differences):
        raise ValueError(f"{len(ours)} and {len(theirs)} values are not pairs")
    mean = float(differences.mean())
    if len(differences) == 1:
        return Difference(1, mean, None, None, None)
    if np.ptp(differences) == 0:  # the t statistic is 0 / 0 or infinite
        return Difference(len(differences), mean, mean, mean, 1.0 if mean == 0 else 0.0)
    from scipy import stats  # it takes a second to import, and few reports need it

    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(LEVEL)
    return Difference(len(differences), mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values of one family, each raised for the number of them; None is no test (Holm 1979)."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None and not math.isnan(p))
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        found[index] = largest
    return found
