import os
from pathlib import Path

import pytest

from mica.data.location import expand, file_digest, open_file, read_file, shown
from mica.errors import DataError


def test_home_variables_and_relative_paths_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/some/where")
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("$HERE/a.parquet") == "/some/where/a.parquet"
    assert expand("${HERE}/a.parquet") == "/some/where/a.parquet"
    assert expand("~/a.parquet") == "/home/me/a.parquet"
    assert expand("a.parquet") == os.path.join(os.getcwd(), "a.parquet")


def test_a_uri_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "mine")
    assert expand("s3://$BUCKET/a.parquet") == "s3://mine/a.parquet"


@pytest.mark.parametrize("place", ["$NOT_SET_1/a.parquet", "x/${NOT_SET_1}", "s3://$NOT_SET_1/a"])
def test_a_variable_that_is_not_set_is_named(place: str) -> None:
    with pytest.raises(DataError, match="the environment variable NOT_SET_1 is not set"):
        expand(place)


def test_a_password_is_not_shown() -> None:
    assert shown("s3://key:secret@bucket/a.parquet") == "s3://***@bucket/a.parquet"
    assert shown("/local/me@home.parquet") == "/local/me@home.parquet"


def test_a_file_is_read_by_path_and_by_uri(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"hello")
    assert read_file(str(file)).to_pybytes() == b"hello"
    assert read_file(file.as_uri()).to_pybytes() == b"hello"
    assert file_digest(file.as_uri()).startswith("2cf24dba5fb0a30e")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{}/none", "/none: there is no such file"),
        ("{}", "this is a folder, not a file"),
        ("{}/empty", "/empty: the file is empty"),
        ("file://{}/none", "/none: there is no such file"),
        ("carrier-pigeon://x/y", "carrier-pigeon://x/y: cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match=message):
        open_file(place.format(tmp_path))
