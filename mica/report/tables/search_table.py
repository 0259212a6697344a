"""What a search has found so far: its rungs, the best candidates first."""

from collections.abc import Mapping
from statistics import mean

import pandas as pd

from mica.report.tables.text_table import TextTable
from mica.sweep.course import Candidate, Rung
from mica.wording import counted

_SHOWN = 10
"""Candidates of a rung."""


def search_tables(rungs: tuple[Rung, ...], trials: pd.DataFrame) -> list[TextTable]:
    """A table a rung, the last one first; rungs that nothing has been trained on yet are left out.

    Args:
        rungs: of the search.
        trials: the table of its trials.
    """
    accuracies = trials["val_top1"].astype(float).fillna(0.0)
    found = dict(zip(trials["trial_key"].astype(str), accuracies, strict=True))
    done = [(rung, [each for each in dict.fromkeys(rung.candidates) if _done(each, found)]) for rung in rungs]
    return [_table(rung, candidates, found) for rung, candidates in reversed(done) if candidates]


def _table(rung: Rung, done: list[Candidate], found: Mapping[str, float]) -> TextTable:
    values = {each: [found[spec.key] for spec in each] for each in done}
    best = sorted(done, key=lambda each: -sum(values[each]))
    caption = (
        f"Mean validation top-1 of {counted(len(done[0]), 'seed')}, percent; of a trial that failed or "
        "collapsed 0. Candidates were chosen by it: a fair figure needs other seeds."
    )
    if len(done) > _SHOWN:
        caption += f" The {_SHOWN} best of {len(done)}."
    return TextTable(
        title=f"{counted(rung.epochs, 'epoch')}: {len(done)} of {counted(rung.wanted, 'candidate')}",
        caption=caption,
        head=["candidate", "mean", "lowest", "highest"],
        rows=[
            [each[0].method.name, *(f"{number(values[each]):.2f}" for number in (mean, min, max))]
            for each in best[:_SHOWN]
        ],
    )


def _done(candidate: Candidate, found: Mapping[str, float]) -> bool:
    return all(spec.key in found for spec in candidate)
