"""Whole sweeps in this process: what runs again, what stops a sweep, and what an interruption leaves."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mica.cli.main import main
from mica.sweep.drive import here
from tests.sweep import user_models
from tests.sweep.sample import records_of, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_ray: None) -> Path:
    """A sweep of four masks, of models of the user's own that lie beside its file; nobody draws figures."""
    monkeypatch.setattr("mica.report.apart.report_ended", lambda *given, **options: 0)
    user_models.write(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    again(monkeypatch)
    lines = {"models": "models_of_mine:sound", "methods": "rpi-erk", "protocol": "{epochs: 0}"}
    write(tmp_path, storage=str(tmp_path / "results"), **lines)
    return tmp_path


def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's module is read anew, as by a new process."""
    monkeypatch.delitem(sys.modules, "models_of_mine", raising=False)


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["run", str(folder / "sweep.yaml"), "--here", *options])


def outcomes(folder: Path) -> Counter[str]:
    return Counter(item.record.outcome for item in records_of(folder / "results").values())


def test_results_of_code_that_has_changed_are_told_of_and_made_again_on_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder).exit_code == 0
    with open(folder / "models_of_mine.py", "a") as file:
        file.write("# other code\n")
    again(monkeypatch)
    told = run(folder)
    assert told.exit_code == 0 and "4 trials, 4 done, 0 to run" in told.output
    assert "4 trials ran with other code of yours than now; --retry-changed runs them again" in told.output
    retried = run(folder, "--retry-changed")
    assert "0 done, 4 to run" in retried.output and "other code" not in retried.output
    assert "4 done, 0 to run" in run(folder, "--retry-changed").output
    assert outcomes(folder) == {"completed": 2, "collapsed": 2}


def test_a_bug_in_every_trial_stops_the_sweep_early(folder: Path) -> None:
    path = folder / "sweep.yaml"
    text = path.read_text().replace("sound", "failing").replace("{epochs: 0}", "{epochs: 1, batch_size: 8}")
    path.write_text(text.replace("rpi-erk", "dense").replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4]"))
    result = run(folder)
    assert result.exit_code == 1
    said = "the first 3 trials all failed alike: RuntimeError: this network [/red] never trains"
    line = next(number for number, text in enumerate(user_models.SOURCE.splitlines(), 1) if "[/red]" in text)
    assert f"{said} (models_of_mine.py:{line})" in result.stderr
    assert outcomes(folder) == {"failed": 3}


def test_an_interrupted_sweep_says_what_is_missing_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = here.run_and_store, []

    def interrupted(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(here, "run_and_store", interrupted)
        result = run(folder)
    assert result.exit_code == 130
    assert "interrupted: 2 trials missing" in result.stderr
    assert not [*(folder / "results").glob("claims/*"), *(folder / "results").glob("drivers/*")]
    assert "2 done, 2 to run" in run(folder).output
    assert outcomes(folder).total() == 4


def test_what_cannot_run_is_told_at_once_before_anything_is_written(folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("sound", "untraceable") + "resources: {gpu: 1}\n")
    result = run(folder)
    assert result.exit_code == 2
    assert "device 'cuda' cannot be used" in result.stderr or "models_of_mine" in result.stderr
    assert "model 'models_of_mine:untraceable' on 'synthetic" in result.stderr
    assert not (folder / "results").exists()


def test_a_gpu_s_arithmetic_is_refused_where_there_is_none(folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("{epochs: 0}", "{epochs: 1, precision: tf32}"))
    told = run(folder)
    assert told.exit_code == 2 and "precision tf32 is a GPU's" in told.stderr
    assert not (folder / "results").exists()


def test_only_those_who_go_to_mlflow_need_its_password(folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("mlflow: false", "mlflow: https://me:$PASSWORD_OF_MINE@x"))
    assert {CliRunner().invoke(main, [command, str(path)]).exit_code for command in ("plan", "status")} == {0}
    for result in (run(folder), CliRunner().invoke(main, ["sync", str(path)])):
        assert result.exit_code == 2
        assert "the environment variable PASSWORD_OF_MINE is not set" in result.stderr
    assert not (folder / "results").exists()


def test_it_goes_to_no_cluster(folder: Path) -> None:
    result = run(folder, "--address", "127.0.0.1:1")
    assert result.exit_code == 2 and "--here runs without Ray" in result.stderr


def test_what_could_not_be_drawn_costs_no_trial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that draws has said why."""
    monkeypatch.setattr("mica.report.apart.report_ended", lambda *given, **options: 2)
    assert run(folder).exit_code == 0


def test_where_nothing_is_to_run_a_storage_that_takes_no_more_is_no_failure(folder: Path) -> None:
    assert run(folder).exit_code == 0
    path, drivers = folder / "sweep.yaml", folder / "results" / "drivers"
    path.write_text(path.read_text().replace("mlflow: false", "mlflow: true"))
    shutil.rmtree(drivers)
    drivers.touch()  # in the folder's place, so that no driver can say that it lives
    told = run(folder)
    assert told.exit_code == 0 and "4 done, 0 to run" in told.output
    assert "MLflow could not be brought level" in told.output and "will catch up" in told.output


def test_ctrl_c_while_results_are_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object, **options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mica.report.apart.report_ended", interrupted)
    result = run(folder)
    assert result.exit_code == 130
    assert "sweep.yaml` draws the results" in result.stderr
    assert outcomes(folder).total() == 4


def test_where_records_cannot_be_written_it_says_that_the_same_line_goes_on(folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(path.read_text().replace("sound", "spoiling") + "\ntimes: {storage: 2}\n")
    result = run(folder)
    assert result.exit_code == 130
    assert "records cannot be written" in result.stderr
