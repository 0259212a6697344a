"""How far a sweep is: missing, failed, and made by other code of the user's than is there now."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mica.cli.main import main
from mica.sweep.drive.worker import failed
from mica.sweep.store.stored import Stored
from mica.sweep.sweep import open_sweep
from mica.trial import run
from tests.sweep import user_models
from tests.sweep.sample import SWEEP, write


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two trials of the user's own network one is done, one has failed; mica's own network is done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("planned_models", None)
    user_models.write(tmp_path, "planned_models")
    path = write(
        tmp_path,
        models="['planned_models:sound', mlp]",
        methods="mica-erk",
        ratios="[4]",
        protocol="{epochs: 1}",
    )
    opened = open_sweep(path)
    for key, trial in opened.grid.trials.items():
        if trial.model.name == "mlp" or trial.seed == 0:
            record = run(trial)
        else:
            record = failed(trial, "Traceback …\nValueError: no", "cpu")
        opened.store.put(Stored(key, "tiny", record))
    return path


def edited(folder: Path) -> None:
    module = folder / "planned_models.py"
    module.write_text(module.read_text() + "\n# other code now\n")


def test_nothing_is_said_of_code_that_is_as_it_was(sweep: Path) -> None:
    plan = json.loads(call("plan", sweep, "--json").stdout)
    assert (plan["done"], plan["failed"], plan["changed"], plan["changed_code"]) == (3, 1, 0, [])
    assert "other code" not in call("plan", sweep).stdout + call("status", sweep).stdout


def test_results_of_other_code_are_counted_and_the_command_is_named(sweep: Path) -> None:
    edited(sweep.parent)
    expected = (
        "1 trial was made by other code of planned_models:sound than is there now; "
        f"`mica-sweep run {sweep} --retry-changed` runs it again"
    )
    for command in ("plan", "status"):
        assert expected in call(command, sweep).stdout
        found = json.loads(call(command, sweep, "--json").stdout)
        assert (found["changed"], found["changed_code"]) == (1, ["planned_models:sound"])
    (key,) = json.loads(call("status", sweep, "--json").stdout)["changed_trials"]
    assert f"{key}  changed" in call("plan", sweep, "--keys").stdout


def test_of_a_results_folder_nobody_knows_other_code(sweep: Path) -> None:
    edited(sweep.parent)
    found = json.loads(call("status", sweep.parent / "results/tiny", "--json").stdout)
    assert (found["changed"], found["missing"]) == (0, 0)


def test_status_names_the_command_that_runs_failed_trials_again(sweep: Path) -> None:
    shown = call("status", sweep).stdout
    assert "ValueError: no" in shown
    assert f"`mica-sweep run {sweep} --retry-failed` all of them" in shown


def test_a_plan_says_what_is_to_be_known_before_it_runs(sweep: Path) -> None:
    write(sweep.parent, models="'planned_models:sound'", ratios="[100000]", protocol="{epochs: 1}")
    remarks = json.loads(call("plan", sweep, "--json").stdout)["remarks"]
    assert remarks[0].startswith("model 'planned_models:sound' has no protocol of its own")
    assert remarks[1] == "planned_models:sound at 10^5: 1 edge for 2 layers: everything collapses"
    shown = call("plan", sweep).stdout
    assert all(f"note: {remark}" in shown for remark in remarks)


def test_what_nothing_tells_is_tried_for_some_seconds_and_said_to_be_rough(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mica.bench.rough._SECONDS", 0.2)
    monkeypatch.setattr("mica.bench.measurements.saved", lambda: None)
    write(sweep.parent, models="'planned_models:sound'", ratios="[10]", protocol="{epochs: 1}")
    plan = json.loads(call("plan", sweep, "--json").stdout)
    assert plan["hours_to_go"] > 0 and plan["hours_by"].startswith("rough: measured for ")
    assert "to go, one trial after another; rough: measured for" in " ".join(
        call("plan", sweep).stdout.split()
    )
    untold = json.loads(call("plan", sweep, "--json", "--no-measure").stdout)
    assert (untold["hours_to_go"], untold["hours_by"]) == (None, None)
    assert "how many hours? not measured" in call("plan", sweep, "--no-measure").stdout


def test_trials_of_one_method_that_differ_otherwise_are_counted_apart(tmp_path: Path) -> None:
    grids = """
grids:
  - {methods: mica-erk}
  - {methods: mica-erk, protocol: {epochs: 2, batch_size: 16, initial_weights: rescaled}}
  - {methods: rpi-erk, wiring: rewired}
"""
    path = write(tmp_path, SWEEP.replace("methods: [rpi-erk, mica-erk]\n", "") + grids)
    methods = json.loads(call("plan", path, "--json", "--no-measure").stdout)["methods"]
    assert {name: found["trials"] for name, found in methods.items()} == {
        "mica-erk, initial_weights drawn": 4, "mica-erk, initial_weights rescaled": 4, "rpi-erk": 4,
    }  # fmt: skip


def test_a_hint_names_the_storage_that_was_given(sweep: Path) -> None:
    elsewhere = sweep.with_name("elsewhere")
    (sweep.parent / "results/tiny").rename(elsewhere)
    assert "--storage" not in call("plan", sweep).stdout
    told = call("status", sweep, "--storage", elsewhere).stdout
    assert f"`mica-sweep run {sweep} --storage {elsewhere} --retry-failed` all of them" in told
    assert f"`mica-sweep trial KEY --from {sweep} --storage {elsewhere}` runs one here" in told
