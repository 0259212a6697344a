"""A spoilt database of our own is set aside and made anew; nobody else's is touched."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from mica.sweep.track import database
from mica.sweep.track.connection import Connection
from mica.sweep.track.database import own_file, why_spoilt
from mica.sweep.track.projection import Projection, Tally, default_uri, sync
from tests.sweep.track.mlflow_records import by_key, made

SHUT_OUT = "table _alembic_tmp_experiments already exists"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "records").mkdir()
    return tmp_path / "mlflow.db"


def tables(file: Path, *statements: str, age: float = 60) -> None:
    with closing(sqlite3.connect(file)) as made_by_hand:
        for statement in statements:
            made_by_hand.execute(statement)
        made_by_hand.commit()
    os.utime(file, (time.time() - age,) * 2)


def test_only_the_file_beside_records_is_ours(tmp_path: Path) -> None:
    assert own_file(default_uri(tmp_path)) is None
    (tmp_path / "segments").mkdir()
    assert own_file(default_uri(tmp_path)) == tmp_path / "mlflow.db"
    assert own_file(f"sqlite:///{tmp_path}/other.db") is None
    assert own_file("postgresql://host/mlflow.db") is None


def test_a_half_made_database_is_told_from_one_in_use(file: Path) -> None:
    assert why_spoilt(file, SHUT_OUT) is None, "there is none"
    tables(file, "CREATE TABLE experiments (name TEXT)")
    assert why_spoilt(file, SHUT_OUT) == "half made"
    assert why_spoilt(file, "database is locked") is None
    tables(file, "CREATE TABLE runs (name TEXT)", "INSERT INTO runs VALUES ('a run')")
    assert why_spoilt(file, SHUT_OUT) is None
    tables(file, "CREATE TABLE _alembic_tmp_runs (name TEXT)")
    assert why_spoilt(file, SHUT_OUT) == "half made"


def test_one_that_is_being_made_is_not_half_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_QUIET", 0.3)
    tables(file, "CREATE TABLE experiments (name TEXT)", age=-60)
    assert why_spoilt(file, SHUT_OUT) is None


def test_what_was_set_aside_leaves_no_journal_behind(file: Path) -> None:
    for name in ("mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db.set-aside"):
        (file.parent / name).write_text(name)
    assert database.set_aside(file).read_text() == "mlflow.db"
    assert [path.name for path in file.parent.glob("mlflow*")] == ["mlflow.db.set-aside"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told."""
    found: list[str] = []
    monkeypatch.setitem(Connection.__init__.__kwdefaults__, "say", found.append)
    return found


@pytest.fixture(scope="module")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound database: making one takes seconds."""
    place = tmp_path_factory.mktemp("before")
    assert sync(default_uri(place), "s", [("k0", made())], complete=True).logged == 1
    return place / "mlflow.db"


def keys(file: Path) -> set[str]:
    """Of the trials that are shown; MLflow keeps what it has opened, so it is asked by another name."""
    return {*by_key(database.respelled(default_uri(file.parent), 9), "s")}


def test_a_database_that_was_half_made_on_a_full_disk_is_made_anew(file: Path, said: list[str]) -> None:
    tables(
        file,
        "CREATE TABLE experiments (experiment_id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(256) NOT NULL)",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "CREATE TABLE _alembic_tmp_experiments (experiment_id INTEGER NOT NULL)",
    )
    assert sync(default_uri(file.parent), "s", [("k0", made())], complete=True) == Tally(logged=1)
    assert said == [f"MLflow's database {file} was half made: set aside as mlflow.db.set-aside and made anew"]
    assert keys(file) == {"k0"}


def test_what_is_no_database_is_made_anew(file: Path, said: list[str]) -> None:
    file.write_text("no database " * 1000)
    assert sync(default_uri(file.parent), "s", [("k0", made())], complete=True) == Tally(logged=1)
    assert len(said) == 1 and "was no database" in said[0]


def test_a_database_that_is_damaged_in_mid_sweep_is_made_anew_with_all_that_was_shown(
    file: Path, said: list[str], made_before: Path
) -> None:
    shutil.copy(made_before, file)
    projection = Projection(default_uri(file.parent), "s", pause=60)
    projection.log("k0", made)
    assert projection.tally() == Tally(present=1)
    content = bytearray(file.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    file.write_bytes(content)
    projection.log("k1", lambda: made(1))
    tally = projection.finish(complete=True)
    assert (tally.shown, tally.failed) == (2, 0)
    assert len(said) == 1 and "was damaged: set aside" in said[0]
    assert keys(file) == {"k0", "k1"}


def test_a_database_that_is_deleted_in_mid_sweep_is_made_anew(file: Path, made_before: Path) -> None:
    shutil.copy(made_before, file)
    projection = Projection(default_uri(file.parent), "s", pause=60)
    projection.log("k0", made)
    file.unlink()
    projection.log("k1", lambda: made(1))
    assert projection.finish(complete=True).shown == 2
    assert keys(file) == {"k0", "k1"}
