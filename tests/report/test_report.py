"""The end of a sweep: tables and figures beside the records, each record read once."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from mica.cli.main import main
from mica.report.report import print_table, write_report
from mica.sweep.results import Results, open_results
from mica.sweep.store.records import Store
from mica.sweep.sweep import open_sweep
from tests.sweep.sample import stored, write

TITLED = "[{name: mica, node_counts: max, title: MiCA max}]"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A sweep of two trials, whose records know no title, beside another sweep's trial."""
    monkeypatch.chdir(tmp_path)
    lines = {"methods": "['mica(node_counts=max)-erk']", "ratios": "[4]"}
    store = Store(str(tmp_path / "results" / "tiny"))
    store.put(stored("f", sweep="other"))
    for key, trial in open_sweep(write(tmp_path, **lines)).grid.trials.items():
        store.put(stored(key, spec=trial))
    path = tmp_path / "titled.yaml"
    text = (tmp_path / "sweep.yaml").read_text()
    path.write_text(
        text.replace("methods: ['mica(node_counts=max)-erk']", f"pruners: {TITLED}\ndistributions: erk")
    )
    return open_results(path)


def test_a_report_goes_by_the_titles_of_the_file_as_it_is_now(results: Results, tmp_path: Path) -> None:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        write_report(results, console)
    assert "MiCA max-ERK" in capture.get() and "node_counts" not in capture.get()
    trials = pd.read_parquet(tmp_path / "results/tiny/tables/trials.parquet").set_index("sweep")
    assert len(trials) == 3, "the tables hold all records of the store"
    assert trials.loc["tiny", "pruner_title"].tolist() == ["MiCA max"] * 2
    assert pd.isna(trials.loc["other", "pruner_title"])
    assert len(list((tmp_path / "results/tiny/figures").glob("accuracy-*.png"))) == 1


@pytest.mark.parametrize("folder", ["tables", "figures"])
def test_what_cannot_be_written_is_shown_nevertheless(results: Results, tmp_path: Path, folder: str) -> None:
    (tmp_path / "results/tiny" / folder).write_text("in the way")
    console = Console(width=100, color_system=None)
    with console.capture() as capture, pytest.raises(OSError):
        write_report(results, console)
    assert "MiCA max-ERK" in capture.get() and "parquet" not in capture.get()


def test_a_comparison_says_by_its_exit_code_whether_all_is_alike(results: Results, tmp_path: Path) -> None:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    folder, file = str(tmp_path / "results/tiny"), str(results.place)
    same = call("compare", file, file)
    assert same.exit_code == 0 and ": 1 equal" in " ".join(same.stdout.split())
    more = call("compare", file, folder, "--json")
    assert more.exit_code == 1
    assert [row["verdict"] for row in json.loads(more.stdout)] == ["equal", "only in the second"]
    assert "no other method has finished trials" in call("report", file, "--against", "MiCA max-ERK").stdout
    assert call("report", file, "--against", "rpi-erk").exit_code == 2


def test_tables_are_written_only_where_they_are_asked_for(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(results, "markdown")
    assert "| MiCA max-ERK | 50.0" in capsys.readouterr().out
    assert not (tmp_path / "results/tiny/tables").exists()
    write_report(results, Console(width=100, quiet=True))
    written = sorted(path.name for path in (tmp_path / "results/tiny/tables").iterdir())
    assert written == ["epochs.parquet", "layers.parquet", "trials.parquet"]
