"""What MLflow opens a sweep on: its methods over compression ratios, and the report's figures.

It is made in a process of its own, which ends whatever MLflow does.
"""

import pickle
import subprocess
import sys
import tempfile
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mica import imports
from mica.report.drawn import read_drawn
from mica.sweep.store.layout import FIGURES
from mica.sweep.track.credentials import scrubbed
from mica.sweep.track.level import is_level, mark_level

if TYPE_CHECKING:
    import pandas as pd

    from mica.sweep.results import Results
    from mica.sweep.track.front import Curve

_SECONDS = 90.0
_COMMAND = [sys.executable, "-W", "ignore::FutureWarning", "-m", "mica.report.front"]
_METRICS = {
    "accuracy": "accuracy",
    "share": "functional_edges",
    "nodes": "functional_nodes",
    "x": "log10_corrected_ratio",
}
"""Column of a table of cells → what MLflow calls it."""


class Front(NamedTuple):
    """What became of it."""

    link: str | None = None
    """To what is new there, on a server."""
    error: str | None = None
    """Why it could not be shown."""


def show_in_mlflow(results: "Results", uri: str) -> Front:
    """Bring it up to date, where there are figures and it is not; never raises for MLflow."""
    place, name = results.store.place, f"{results.name}/front"
    drawn = read_drawn(place)
    if drawn is None or is_level(place, uri, name, {"drawn": drawn.state}):
        return Front()
    given = pickle.dumps(replace(results, sources={}, mlflow=uri))
    try:
        done = subprocess.run(
            _COMMAND, input=given, start_new_session=True, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Front(error=f"it did not answer within {_SECONDS:g} seconds")
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return Front(error=scrubbed(words[-1], uri) if words else f"exit code {done.returncode}")
    mark_level(place, uri, name, {"drawn": drawn.state})
    return Front(link=done.stdout.decode().strip() or None)


def curves(trials: "pd.DataFrame") -> list["Curve"]:
    """The methods of each network, from the table `trials`, as the figures order them."""
    from mica.report.cells.grouping import SERIES, cells, finished
    from mica.report.cells.series import Series
    from mica.sweep.track.front import Curve

    rows = cells(finished(trials))
    several = [column for column in ("dataset", "model") if rows[column].nunique() > 1]
    found = []
    for _, part in rows.groupby(["dataset", "model", *SERIES]):
        first = part.iloc[0]
        series, dataset, model = Series(**first[SERIES]), str(first["dataset"]), str(first["model"])
        words = [str(first[column]) for column in several]
        curve = Curve(
            name=" ".join([*words, series.label]),
            params={
                "dataset": dataset,
                "model": model,
                "method": series.method,
                "pruner": series.pruner,
                "distribution": series.distribution,
                "budget": series.budget,
            },
            points=[
                (name, float(ratio), float(value))
                for column, name in _METRICS.items()
                for ratio, value in zip(part["log10_ratio"], part[column], strict=True)
                if not isnan(value)
            ],
        )
        found.append(((dataset, model, series.method == "dense", series.order), curve))
    return [curve for _, curve in sorted(found, key=lambda pair: pair[0])]


def _show(results: "Results") -> None:
    from mica.sweep.store.tables import read_trials
    from mica.sweep.track.front import show_front, sweep_link

    uri = str(results.mlflow)
    place, drawn = results.store.place, read_drawn(results.store.place)
    trials = read_trials(results.store, results.trials, results.entries).to_pandas()
    with tempfile.TemporaryDirectory(prefix="mica-front-") as scratch:
        for name in drawn.figures if drawn else ():
            if name.endswith(".png"):
                Path(scratch, name).write_bytes(place.read(f"{FIGURES}/{name}") or b"")
        show_front(uri, results.name, curves(trials), Path(scratch))
    if uri.startswith("http"):
        print(sweep_link(uri, results.name))


if __name__ == "__main__":
    imports.for_good()
    _show(pickle.load(sys.stdin.buffer))
