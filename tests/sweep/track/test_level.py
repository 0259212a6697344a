"""Whether MLflow is level is known from the keys and outcomes alone."""

import json
from pathlib import Path

import pytest

from mica.sweep.store.folder import Folder
from mica.sweep.track import fields, level
from mica.sweep.track.level import is_level, mark_level, of_trials

URI = "http://name:secret@host:5000"
OUTCOMES = {"a": "completed", "b": "failed"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def test_it_is_level_only_with_what_was_marked(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))
    mark_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))
    assert is_level(folder, URI, "s", of_trials(dict(reversed(OUTCOMES.items())), complete=True))
    assert is_level(folder, "http://other:password@host:5000", "s", of_trials(OUTCOMES, complete=True))
    assert not is_level(folder, URI, "t", of_trials(OUTCOMES, complete=True))
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES, complete=False))
    assert not is_level(folder, "http://elsewhere", "s", of_trials(OUTCOMES, complete=True))
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES | {"b": "completed"}, complete=True))
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES | {"c": "completed"}, complete=True))
    monkeypatch.setattr(level, "VERSION", fields.VERSION + 1)
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))


def test_the_marker_holds_no_credentials(folder: Folder, tmp_path: Path) -> None:
    mark_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))
    text = (tmp_path / "mlflow" / "s.json").read_text()
    assert "secret" not in text and json.loads(text)["uri"] == "http://***@host:5000"


def test_a_database_that_is_gone_or_another_one_is_not_level(folder: Folder, tmp_path: Path) -> None:
    file, other = tmp_path / "mlflow.db", tmp_path / "other.db"
    uri = f"sqlite:///{file}"
    mark_level(folder, uri, "s", of_trials(OUTCOMES, complete=True))
    assert not is_level(folder, uri, "s", of_trials(OUTCOMES, complete=True)), "there was none"
    for path in (file, other):
        path.touch()
    mark_level(folder, uri, "s", of_trials(OUTCOMES, complete=True))
    assert is_level(folder, uri, "s", of_trials(OUTCOMES, complete=True))
    other.rename(file)
    assert not is_level(folder, uri, "s", of_trials(OUTCOMES, complete=True))
    file.unlink()
    assert not is_level(folder, uri, "s", of_trials(OUTCOMES, complete=True))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}"])
def test_a_torn_marker_is_none(folder: Folder, tmp_path: Path, content: str) -> None:
    mark_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))
    (tmp_path / "mlflow" / "s.json").write_text(content)
    assert not is_level(folder, URI, "s", of_trials(OUTCOMES, complete=True))
