"""Whole searches in this process and on Ray: rebuilt from records, one driver at a time."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mica.cli.main import main
from mica.sweep.drive import here
from mica.sweep.store.claims import Claims
from mica.sweep.store.driver import Driver, Watch
from mica.sweep.store.places import open_place
from mica.sweep.sweep import open_sweep
from tests.sweep.plan.test_waves import SEARCH
from tests.sweep.sample import records_of, write

pytestmark = pytest.mark.usefixtures("undrawn")
ROUNDS = "rungs: [{candidates: 6, epochs: 1}, {candidates: 2, epochs: 2}]\n  wave: 2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    text = SEARCH.replace("rungs: [{candidates: 4, epochs: 1}, {candidates: 2, epochs: 2}]", ROUNDS)
    return write(tmp_path, text, storage=str(tmp_path / "results"), resources="{gpu: 0}")


def run(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["run", str(path), *options])


@pytest.fixture
def undisturbed(path: Path, tmp_path_factory: pytest.TempPathFactory, no_ray: None) -> set[str]:
    storage = tmp_path_factory.mktemp("undisturbed")
    assert run(path, "--here", "--storage", str(storage)).exit_code == 0
    return set(records_of(storage))


def test_a_search_that_was_stopped_goes_on_with_the_same_candidates(
    path: Path, undisturbed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(undisturbed) == 16
    real, calls = here.run_and_store, []

    def interrupted(*arguments, **named):
        calls.append(1)
        if len(calls) % 4 == 0:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(here, "run_and_store", interrupted)
    left = []
    while (result := run(path, "--here")).exit_code == 130:
        left.append(result.stderr)
    assert result.exit_code == 0, result.output
    assert set(records_of(path.parent / "results")) == undisturbed
    assert "interrupted: 13 trials missing" in left[0] and "interrupted: 1 trial missing" in left[-1]
    assert "16 trials, 15 done, 1 to run" in result.output
    report = CliRunner().invoke(main, ["report", str(path)]).output
    assert "2 epochs: 2 of 2 candidates" in report and "1 epoch: 6 of 6 candidates" in report


def test_on_ray_it_is_the_same_search(path: Path, undisturbed: set[str], ray_address: str) -> None:
    result = run(path)
    assert result.exit_code == 0, result.output
    assert set(records_of(path.parent / "results")) == undisturbed


def test_another_driver_is_refused_while_one_runs_it(path: Path, no_ray: None) -> None:
    place = open_place(str(path.parent / "results"))
    with Driver(place, "tiny", 90) as driver:
        claims = Claims(place, driver, Watch(place, 90))
        claims.look()
        assert claims.take("search-tiny")
        result = run(path, "--here")
    assert result.exit_code == 2 and "another driver runs this search" in result.stderr
    assert not records_of(path.parent / "results")


def test_plan_and_status_count_what_nobody_knows_yet(path: Path) -> None:
    for command in (["plan", "--no-measure"], ["status"]):
        result = CliRunner().invoke(main, [*command, str(path)])
        assert "16 trials" in result.output, result.output
    assert "not known yet" in CliRunner().invoke(main, ["plan", "--no-measure", str(path)]).output


def test_what_collapses_counts_as_nothing(path: Path, no_ray: None) -> None:
    """At the ratio 1000 everything collapses: no candidate is better, so the first ones go on."""
    path.write_text(path.read_text().replace("ratios: 4", "ratios: 1000"))
    assert run(path, "--here").exit_code == 0
    course = open_sweep(path).course
    assert course and course.over
    first, second = (rung.candidates for rung in course.rungs)
    assert {course.objective(each) for each in first} == {0.0}
    assert [each[0].method for each in second] == [each[0].method for each in first[:2]]
