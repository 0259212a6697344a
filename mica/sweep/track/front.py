"""What a sweep's experiment opens on in MLflow: a run a method, how to read them all, and the figures.

A method's run has charts over compression ratios where a trial's has charts over epochs. Such a run is never
changed: where a method has other numbers by now, a new run takes its place.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mica.sweep.track.client import BATCH, client_of, experiment_id, tagged_runs
from mica.sweep.track.fields import NOTE, VERSION
from mica.sweep.track.runs import SWEEP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

METHOD_TAG, _DIGEST_TAG = "mica.method", "mica.points"
_STEPS = 100
"""Steps of a decade: MLflow's are whole numbers."""

_HOW_TO_READ = """\
On top **a run a method**, with charts over compression ratios: step {step} is 10^4.5. Then **a run a trial**.

- A method's charts lie below `over_ratio`: test top-1 after the last epoch, functional edges and nodes (%),
  log10 of the corrected ratio. Means over seeds; of accuracies, over those that did not collapse.
- A trial's charts go over epochs. A filter: `params.method = "mica-igq" and params.seed = "0"`.
- The run **{sweep}** holds the figures, as its artifacts; it is `FINISHED` when every trial is shown.
"""


@dataclass(frozen=True)
class Curve:
    """One method on one network."""

    name: str
    params: Mapping[str, str]
    points: Sequence[tuple[str, float, float]]
    """What is measured, log10 of the compression ratio, the value."""

    @property
    def digest(self) -> str:
        """Of all that its run shows."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self)]).encode()).hexdigest()[:16]


def show_front(uri: str, sweep: str, curves: Sequence[Curve], figures: Path) -> None:
    """Bring the front up to date. May raise what MLflow raises.

    Args:
        curves: in the order in which they are to stand.
        figures: a folder.
    """
    client = client_of(uri)
    experiment = experiment_id(client, uri, sweep)
    how = _HOW_TO_READ.format(sweep=sweep, step=round(4.5 * _STEPS))
    client.set_experiment_tag(experiment, NOTE, how)
    digests = {curve.name: curve.digest for curve in curves}
    there = _only(client, experiment, digests)
    for curve in reversed(curves):  # the newest run stands on top
        if curve.name not in there:
            _show(client, experiment, curve)
    _only(client, experiment, digests)  # another process may have shown them at the same moment
    for run in list(tagged_runs(client, experiment, SWEEP_TAG)):
        client.set_tag(run.info.run_id, NOTE, how)
        client.log_artifacts(run.info.run_id, str(figures), "figures")


def sweep_link(uri: str, sweep: str, base: str | None = None) -> str:
    """Where MLflow's pages show a sweep's runs and their charts, if there are any.

    Args:
        base: the pages' address; None: the server's own, without the user and password that it may hold.
    """
    if base is None:
        parts = urlsplit(uri)
        base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    try:
        experiment = client_of(uri).get_experiment_by_name(sweep)
    except Exception:  # whatever MLflow raises: its own pages will say
        experiment = None
    runs = f"/#/experiments/{experiment.experiment_id}/runs?compareRunsMode=CHART" if experiment else ""
    return base.rstrip("/") + runs


def _only(client: "MlflowClient", experiment: str, digests: Mapping[str, str]) -> Collection[str]:
    """Leave one run of each method that shows what it is to show; returns their names."""
    found: set[str] = set()
    for run in sorted(tagged_runs(client, experiment, METHOD_TAG), key=lambda run: run.info.run_id):
        name, digest = run.data.tags[METHOD_TAG], run.data.tags.get(_DIGEST_TAG)
        if name in found or digest != digests.get(name) or run.info.status != "FINISHED":
            client.delete_run(run.info.run_id)
        else:
            found.add(name)
    return found


def _show(client: "MlflowClient", experiment: str, curve: Curve) -> None:
    from mlflow.entities import Metric, Param

    tags = {METHOD_TAG: curve.name, _DIGEST_TAG: curve.digest}
    run: Run = client.create_run(experiment, tags=tags, run_name=curve.name)
    start = run.info.start_time
    metrics = [
        Metric(f"over_ratio/{name}", value, start, round(_STEPS * log10_ratio))
        for name, log10_ratio, value in curve.points
    ]
    params = [Param(name, value) for name, value in curve.params.items()]
    for first in range(0, max(len(metrics), 1), BATCH):
        client.log_batch(run.info.run_id, metrics[first : first + BATCH], () if first else params)
    client.set_terminated(run.info.run_id)
