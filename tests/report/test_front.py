"""MLflow opens on methods over ratios and on the report's figures; asked of a real one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from mica.report.front import curves, show_in_mlflow
from mica.report.report import write_report
from mica.sweep.results import Results, open_results
from mica.sweep.store.records import Store
from mica.sweep.track.front import METHOD_TAG, show_front, sweep_link
from tests.sweep.sample import stored, write
from tests.sweep.track.mlflow_records import closed_port, runs


def test_a_method_goes_over_ratios_by_its_means(make: Callable[..., dict[str, Any]]) -> None:
    rows = [
        make("mica-igq", 2.0, 0, 50.0), make("mica-igq", 2.0, 1, 60.0),
        make("mica-igq", 3.5, 0, 40.0), make("mica-igq", 3.5, 1, None, outcome="collapsed"),
        make("dense", 0.0, 0, 90.0), make("rpi-erk", 2.0, 0, None, model="other"),
    ]  # fmt: skip
    dense_last, mica, other = [curves(pd.DataFrame(rows))[at] for at in (1, 0, 2)]
    assert [each.name for each in (mica, dense_last, other)] == ["mlp MiCA-IGQ", "mlp Dense", "other RPI-ERK"]
    assert mica.params == {
        "dataset": "digits", "model": "mlp", "method": "mica-igq", "pruner": "mica",
        "distribution": "igq", "budget": "nominal",
    }  # fmt: skip
    assert [point for point in mica.points if point[0] == "accuracy"] == [
        ("accuracy", 2.0, 55.0),
        ("accuracy", 3.5, 40.0),
    ]
    assert [point for point in mica.points if point[0] == "functional_edges"] == [
        ("functional_edges", 2.0, 100.0),
        ("functional_edges", 3.5, 50.0),
    ]
    assert {name for name, *_ in other.points} == {"functional_edges", "functional_nodes"}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A sweep's report, drawn; its records are in no MLflow yet."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, methods="[mica-erk, rpi-erk]", ratios="[4, 100]")
    found = open_results(file)
    for key, trial in found.trials.items():
        found.store.put(stored(key, spec=trial))
    write_report(open_results(file), Console(quiet=True))
    return open_results(file)


def test_it_is_shown_once_and_anew_when_the_results_are_others(results: Results, tmp_path: Path) -> None:
    uri, name = f"sqlite:///{tmp_path}/mlflow.db", results.name
    assert sweep_link(uri, name, "http://127.0.0.1:5000/") == "http://127.0.0.1:5000"
    assert show_in_mlflow(results, uri) == (None, None)
    methods = {run.data.tags[METHOD_TAG]: run for run in runs(uri, name, METHOD_TAG)}
    assert methods.keys() == {"MiCA-ERK", "RPI-ERK"}
    mica = methods["MiCA-ERK"]
    assert mica.data.params["method"] == "mica-erk" and mica.info.status == "FINISHED"
    assert "over_ratio/accuracy" in mica.data.metrics
    assert methods["MiCA-ERK"].info.start_time >= methods["RPI-ERK"].info.start_time, (
        "the first stands on top"
    )

    from mlflow import MlflowClient

    client = MlflowClient(uri)
    points = client.get_metric_history(mica.info.run_id, "over_ratio/functional_edges")
    assert [point.step for point in points] == [60, 200]
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None and "450 is 10^4.5" in experiment.tags["mlflow.note.content"]
    assert sweep_link(uri, name, "http://127.0.0.1:5000").endswith(
        f"5000/#/experiments/{experiment.experiment_id}/runs?compareRunsMode=CHART"
    )

    state = {run.info.run_id for run in runs(uri, name, METHOD_TAG)}
    assert show_in_mlflow(results, uri) == (None, None)
    assert {run.info.run_id for run in runs(uri, name, METHOD_TAG)} == state
    changed = [replace(curve, params={**curve.params, "budget": "new"}) for curve in _curves(results)[:1]]
    show_front(uri, name, [*changed, *_curves(results)[1:]], tmp_path)
    after = {run.data.tags[METHOD_TAG]: run.info.run_id for run in runs(uri, name, METHOD_TAG)}
    assert after.keys() == methods.keys() and after["RPI-ERK"] == methods["RPI-ERK"].info.run_id
    assert after["MiCA-ERK"] != mica.info.run_id


def test_figures_are_the_sweeps_artifacts(results: Results, tmp_path: Path) -> None:
    from mica.sweep.track.projection import sync

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = ((key, results.index.stored(key).record) for key in results.entries)  # type: ignore[union-attr]
    sync(uri, results.name, records, complete=True)
    assert show_in_mlflow(results, uri) == (None, None)

    from mlflow import MlflowClient

    (sweep,) = runs(uri, results.name, "mica.sweep")
    found = {Path(file.path).name for file in MlflowClient(uri).list_artifacts(sweep.info.run_id, "figures")}
    assert found and found == {path.name for path in (tmp_path / "results/tiny/figures").glob("*.png")}
    assert sweep.info.status == "FINISHED"
    assert len(runs(uri, results.name)) == len(results.trials)


def test_a_server_that_is_gone_is_said_in_one_line(results: Results) -> None:
    link, why = show_in_mlflow(results, f"http://user:secret@127.0.0.1:{closed_port()}")
    assert link is None and why and "\n" not in why and "secret" not in why


def test_without_figures_there_is_nothing_to_show(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "bare"))
    store.put(stored("f"))
    assert show_in_mlflow(open_results(tmp_path / "bare"), "http://127.0.0.1:1") == (None, None)


def _curves(results: Results) -> list[Any]:
    return curves(pd.read_parquet(Path("results/tiny/tables/trials.parquet")))
