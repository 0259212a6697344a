"""MLflow shows every record once, whatever dies."""

import os
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mica.sweep.store.layout import RECORDS
from mica.sweep.track import projection
from mica.sweep.track.projection import Projection, Tally, default_uri
from mica.sweep.track.runs import Experiment
from mica.trial import Record
from tests.sweep.track.mlflow_records import KILLED, by_key, closed_port, died, made, race, runs

NAMES = count()
sync = partial(projection.sync, complete=True)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests, for making one takes seconds; each test has a sweep of its own."""
    return default_uri(tmp_path_factory.mktemp("a store") / "digits")


@pytest.fixture
def sweep() -> str:
    return f"sweep's {next(NAMES)}"


def test_a_child_shows_its_record(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    assert sync(uri, sweep, [("k", made())]) == Tally(logged=1)
    (child,) = runs(uri, sweep)
    (parent,) = runs(uri, sweep, "mica.sweep")
    assert child.info.run_name == "MLP mica-igq 10^1.5 seed 0"
    assert child.info.status == parent.info.status == "FINISHED"
    assert child.info.end_time - child.info.start_time == 31_500
    assert child.data.tags.items() >= {
        "mica.parent": parent.info.run_id, "outcome": "completed", "host": "here",
    }.items()  # fmt: skip
    assert child.data.params.items() >= {
        "dataset": "digits", "model": "MLP", "method": "mica-igq", "pruner": "mica", "distribution": "igq",
        "budget": "nominal", "log10_ratio": "1.5", "seed": "0", "rounding": "floor",
        "protocol.lr": "0.1", "protocol.epochs": "3", "protocol.lr_drops": "0.375,0.75",
    }.items()  # fmt: skip
    assert "protocol.train_size" not in child.data.params
    assert child.data.metrics.items() >= {
        "test_top1": 43.0, "test_top1_max": 44.5, "corrected_ratio": 40.0, "edges_functional": 16.0,
        "seconds_train": 30.0, "log10_ratio": 1.5,
    }.items()  # fmt: skip

    client = MlflowClient(uri)
    curve = client.get_metric_history(child.info.run_id, "test_top1")
    assert [(point.step, point.value) for point in curve] == [(1, 41), (2, 42), (3, 43)]
    assert [point.step for point in client.get_metric_history(child.info.run_id, "test_loss")] == [2, 3]
    file = client.download_artifacts(child.info.run_id, "layers.csv")
    assert Path(file).read_text().splitlines() == [
        "layer,shape,edges,budget,nodes_in,nodes_out,placed,functional",
        "fc,10x64,640,20,20,10,20,16",
    ]
    store = Path(uri.removeprefix("sqlite:///")).parent
    assert child.info.artifact_uri.startswith((store / "mlflow-artifacts").as_uri())


def test_a_collapsed_trial_has_no_accuracy_and_no_ratio(uri: str, sweep: str) -> None:
    sync(uri, sweep, [("k", made(epochs=0))])
    (child,) = runs(uri, sweep)
    assert child.data.tags["outcome"] == "collapsed"
    assert child.info.status == "FINISHED"
    assert not {"test_top1", "corrected_ratio"} & set(child.data.metrics)


def test_long_curves_arrive_whole(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    sync(uri, sweep, [("k", made(epochs=400))])
    (child,) = runs(uri, sweep)
    assert len(MlflowClient(uri).get_metric_history(child.info.run_id, "train_loss")) == 400


def test_again_adds_only_what_is_missing(uri: str, sweep: str) -> None:
    items = [(f"k{seed}", made(seed)) for seed in range(4)]
    assert sync(uri, sweep, items[:3]) == Tally(logged=3)
    # As it comes back from the store.
    items = [(key, Record.model_validate_json(record.model_dump_json())) for key, record in items]
    assert sync(uri, sweep, items) == Tally(logged=1, present=3)
    assert sync(uri, sweep, items) == Tally(present=4)
    assert len(by_key(uri, sweep)) == 4
    assert len(runs(uri, sweep, "mica.sweep")) == 1


def test_a_failed_trial_that_was_run_again_is_replaced(uri: str, sweep: str) -> None:
    sync(uri, sweep, [("k", died())])
    (child,) = runs(uri, sweep)
    assert child.info.status == "FAILED"
    assert "out of memory" in child.data.tags["mlflow.note.content"]
    assert sync(uri, sweep, [("k", made())]) == Tally(logged=1)
    assert by_key(uri, sweep)["k"].info.status == "FINISHED"


def test_what_a_killed_process_left_is_completed(tmp_path: Path, sweep: str) -> None:
    from mlflow import MlflowClient

    uri, here = default_uri(tmp_path / "new"), Path(__file__).parent
    arguments = [sys.executable, "-c", KILLED, uri, sweep, str(here), str(here.parents[2])]
    killed = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert (killed.returncode, killed.stdout, killed.stderr) == (9, "", ""), "it died in silence"
    states = {key: run.info.status for key, run in by_key(uri, sweep).items()}
    assert states == {"k0": "FINISHED", "k1": "RUNNING"}

    assert sync(uri, sweep, [(f"k{seed}", made(seed)) for seed in range(3)]) == Tally(logged=2, present=1)
    found = by_key(uri, sweep)
    assert {key: run.info.status for key, run in found.items()} == dict.fromkeys(found, "FINISHED")
    curve = MlflowClient(uri).get_metric_history(found["k1"].info.run_id, "test_top1")
    assert [point.step for point in curve] == [1, 2, 3], "points were logged twice"
    assert len(runs(uri, sweep, "mica.sweep")) == 1


def test_of_two_runs_of_one_trial_one_stays(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    sync(uri, sweep, [("k", made())])
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    client.create_run(experiment.experiment_id, tags={"mica.trial_key": "k"})
    client.create_run(experiment.experiment_id, tags={"mica.sweep": sweep})
    tally = sync(uri, sweep, [("k", made())])
    assert (tally.shown, tally.failed) == (1, 0)  # which of the two stays is left to chance
    (child,) = runs(uri, sweep)
    assert child.info.status == "FINISHED" and child.data.metrics["test_top1"] == 43.0
    assert len(runs(uri, sweep, "mica.sweep")) == 1


def test_only_a_whole_sweep_is_shown_as_finished(uri: str, sweep: str) -> None:
    def status() -> str:
        (parent,) = runs(uri, sweep, "mica.sweep")
        return str(parent.info.status)

    projection.sync(uri, sweep, [("k0", made(0))], complete=False)
    assert status() == "KILLED"
    odd = made(1).model_copy(update={"spec": made(1).spec.model_copy(update={"method": "nonsense"})})
    projection.sync(uri, sweep, [("k0", made(0)), ("k1", odd)], complete=True)
    assert status() == "KILLED", "a trial that could not be shown is missing"
    projection.sync(uri, sweep, [("k0", made(0)), ("k1", made(1))], complete=True)
    assert status() == "FINISHED"


def test_a_run_that_a_crash_left_and_nobody_tells_of_is_closed(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    sync(uri, sweep, [("k0", made(0))])
    (child,) = runs(uri, sweep)
    MlflowClient(uri).create_run(child.info.experiment_id, tags={"mica.trial_key": "not in the file now"})
    sync(uri, sweep, [("k0", made(0))])
    found = {key: run.info.status for key, run in by_key(uri, sweep).items()}
    assert found == {"k0": "FINISHED", "not in the file now": "KILLED"}


def test_what_is_known_to_be_shown_is_not_read_again(uri: str, sweep: str) -> None:
    def read() -> Record:
        raise AssertionError("read")

    sync(uri, sweep, [("k0", made(0)), ("k1", died())])
    again = Projection(uri, sweep, pause=60)
    again.log("k0", read, "completed")
    assert again.tally() == Tally(present=1)
    again.log("k1", made, "completed")  # it had failed
    assert again.finish(complete=True) == Tally(logged=1, present=1)
    assert by_key(uri, sweep)["k1"].info.status == "FINISHED"


def test_what_was_missed_is_shown_when_mlflow_answers_again(
    uri: str, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, real = Projection(uri, sweep, pause=0.2), Experiment.show
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "show", unreachable)
        patch.setattr(Experiment, "answers", lambda self: False)
        for seed in range(3):
            shown.log(f"k{seed}", partial(made, seed))
    assert shown.tally().failed == 3
    time.sleep(0.3)
    assert Experiment.show is real
    shown.log("k3", partial(made, 3))
    assert (shown.tally().logged, shown.tally().failed) == (4, 0)


def unreachable(*given: object) -> bool:
    raise ConnectionError("no answer")


def test_what_another_process_deletes_is_shown_again(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    shown = Projection(uri, sweep, pause=60)
    for seed in range(2):
        shown.log(f"k{seed}", partial(made, seed))
    MlflowClient(uri).delete_run(by_key(uri, sweep)["k1"].info.run_id)
    assert shown.finish(complete=True).shown == 2
    assert by_key(uri, sweep).keys() == {"k0", "k1"}


def test_of_four_processes_that_race_one_run_a_trial_stays(tmp_path: Path, sweep: str) -> None:
    """A new database too: all four want to make it, beside a store's records."""
    (tmp_path / RECORDS).mkdir()
    uri = default_uri(tmp_path)
    race(uri, sweep, records=4)
    found = by_key(uri, sweep)
    (parent,) = runs(uri, sweep, "mica.sweep")
    assert found.keys() == {f"k{seed}" for seed in range(4)}
    assert {run.info.status for run in [parent, *found.values()]} == {"FINISHED"}
    assert {run.data.tags["mica.parent"] for run in found.values()} == {parent.info.run_id}
    assert all(run.data.metrics["test_top1"] == 43.0 for run in found.values())


def test_a_parent_that_was_deleted_is_replaced(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    sync(uri, sweep, [("k", made())])
    (parent,) = runs(uri, sweep, "mica.sweep")
    MlflowClient(uri).delete_run(parent.info.run_id)
    assert sync(uri, sweep, [("k", made())]) == Tally(present=1)
    (parent,) = runs(uri, sweep, "mica.sweep")
    assert by_key(uri, sweep)["k"].data.tags["mica.parent"] == parent.info.run_id


def test_an_experiment_that_was_deleted_comes_back(uri: str, sweep: str) -> None:
    from mlflow import MlflowClient

    sync(uri, sweep, [("k", made())])
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert sync(uri, sweep, [("k", made())]).failed == 0
    assert by_key(uri, sweep)["k"].info.status == "FINISHED"


def test_one_record_that_cannot_be_logged_does_not_hold_up_the_rest(uri: str, sweep: str) -> None:
    odd = made(1).model_copy(update={"spec": made(1).spec.model_copy(update={"method": "nonsense"})})
    tally = sync(uri, sweep, [("k0", made(0)), ("k1", odd), ("k2", made(2))])
    assert (tally.logged, tally.failed) == (2, 1)
    assert tally.error is not None and "AttributeError" in tally.error


def test_sync_gives_up_on_a_server_that_is_down(sweep: str) -> None:
    begin = time.monotonic()
    address = f"http://127.0.0.1:{closed_port()}"
    tally = sync(address, sweep, ((f"k{seed}", made(seed)) for seed in range(50)))
    assert (tally.logged, tally.failed) == (0, 50)
    assert tally.error is not None and "127.0.0.1" in tally.error
    assert time.monotonic() - begin < 10


def test_records_are_not_read_for_nobody(sweep: str) -> None:
    shown = Projection(f"http://127.0.0.1:{closed_port()}", sweep, pause=60)
    read: list[str] = []
    for seed in range(3):
        shown.log(f"k{seed}", lambda: read.append("read") or made())
    assert shown.tally().failed == 3
    assert not read


def test_what_the_user_set_stays(uri: str, sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    sync(uri, sweep, [("k", made())])
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_default_uri_is_beside_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri("/some/where") == "sqlite:////some/where/mlflow.db"
    assert default_uri(Path("results")) == f"sqlite:///{tmp_path}/results/mlflow.db"
    assert default_uri("file:///some/a%20b") == "sqlite:////some/a b/mlflow.db"
    assert default_uri("s3://bucket/results") == f"sqlite:///{tmp_path}/mlflow.db"
