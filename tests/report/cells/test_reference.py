"""Published points beside ours: never required, never silently wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mica.errors import DataError
from mica.report.cells.grouping import finished
from mica.report.cells.reference import published_points, published_series
from mica.report.cells.statistic import Statistic
from mica.report.figures.pages import pages

Make = Callable[..., dict[str, Any]]

CSV = """\
dataset,model,method,budget,log10_nominal_ratio,corrected_ratio,test_top1_percent,n_seeds
Digits,MLP,mica-erk,nominal,1.0,10.0,91.5,3
digits,mlp,rpi-erk,nominal,1.0,20.0,33.0,3
digits,mlp,rpi-erk,nominal,2.0,,10.0,3
digits,mlp,rpi-igq,nominal,1.0,10.0,80.0,3
cifar10,vgg16,mica-erk,nominal,1.0,10.0,92.0,3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "published.csv"
    path.write_text(CSV)
    return path


def test_nothing_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICA_PUBLISHED", raising=False)
    assert published_points() is None
    assert published_series(None, pd.DataFrame()) == []


def test_the_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICA_PUBLISHED", str(file))
    points = published_points()
    assert points is not None and len(points) == 5


@pytest.mark.parametrize("content", [None, "", "dataset,model\ndigits,mlp\n"])
def test_a_bad_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"bad\.csv: "):
        published_points(path)


@pytest.mark.parametrize(("statistic", "words", "more"), [
    ("last", "after the last epoch", 0), ("max", "highest of all epochs", 1),
])  # fmt: skip
def test_crosses_change_no_number_of_ours(
    trials: pd.DataFrame, file: Path, statistic: Statistic, words: str, more: float
) -> None:
    accuracy = next(pages(finished(trials), published_points(file), statistic))
    assert accuracy.y_label == f"Test top-1 {words} (%)"
    assert "Published,\nhighest of all epochs" in [artist.get_label() for artist in accuracy.notes]
    ours = {series.method: list(rows["accuracy"].dropna()) for series, rows in accuracy.lines}
    assert ours == {"mica-erk": [91 + more, 70.5 + more], "rpi-erk": [60 + more]}


def test_only_our_methods_and_finite_ratios_are_taken(trials: pd.DataFrame, file: Path) -> None:
    found = published_series(published_points(file), finished(trials))
    assert {series.method: list(rows["accuracy"]) for series, rows in found} == {
        "mica-erk": [91.5],
        "rpi-erk": [33.0],
    }


def test_a_method_of_the_user_s_own_is_matched_by_its_name_alone(trials: pd.DataFrame, file: Path) -> None:
    name = "no.such:pruner-erk"
    file.write_text(CSV.replace("rpi-erk", name))
    ours = trials.replace({"method": {"rpi-erk": name}, "pruner": {"random": "no.such:pruner"}})
    found = published_series(published_points(file), finished(ours))
    assert [series.label for series, _ in found] == ["MiCA-ERK", "pruner-ERK"]


def test_another_data_set_has_no_crosses(trials: pd.DataFrame, file: Path) -> None:
    other = finished(trials.assign(dataset="synthetic"))
    notes = next(pages(other, published_points(file))).notes
    assert not any("Published" in str(note.get_label()) for note in notes)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("91.5", "high", r"published\.csv:2: test_top1_percent: found 'high'; allowed is a number"),
    ("33.0", "", r"published\.csv:3: test_top1_percent: found nothing"),
    ("92.0", "192.0", r"published\.csv:6: test_top1_percent: found 192\.0; allowed are 0 to 100"),
    ("10.0,80.0", "ten,80.0", r"published\.csv:5: corrected_ratio: found 'ten'"),
])  # fmt: skip
def test_what_is_no_number_is_named_by_its_line(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(CSV.replace(old, new))
    with pytest.raises(DataError, match=message):
        published_points(file)


def test_fractions_are_no_percentages(file: Path) -> None:
    head, *rows = CSV.splitlines()
    fields = [row.split(",") for row in rows]
    file.write_text("\n".join([head, *(",".join([*f[:6], str(float(f[6]) / 100), f[7]]) for f in fields)]))
    with pytest.raises(DataError, match="fractions, not percentages"):
        published_points(file)


def test_unknown_models_and_methods_are_named(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(CSV.replace("rpi-igq", "rpi-iqg").replace("vgg16", "vgg61"))
    assert published_points(file) is not None
    assert [record.message for record in caplog.records] == [
        f"{file}: model 'vgg61' is unknown; first on line 6",
        f"{file}: method 'rpi-iqg' is unknown; first on line 5",
    ]


def test_a_point_that_has_no_corrected_ratio_is_none_to_draw(file: Path) -> None:
    points = published_points(file)
    assert (
        points is not None and points["corrected_ratio"].isna().tolist() == [False] * 2 + [True] + [False] * 2
    )
