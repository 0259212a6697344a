"""What a tracking URI holds besides an address is in no text of ours."""

import logging

import pytest

from mica.data.location import shown
from mica.sweep.track.credentials import Scrubber, scrubbed


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("http://name:secret@host:5000/path", "http://***@host:5000/path"),
        ("http://token@host", "http://***@host"),
        ("postgresql+psycopg2://name:se/cr@et@host:5432/db", "postgresql+psycopg2://***@host:5432/db"),
        ("postgresql://host/db?user=name&password=secret", "postgresql://host/db?user=name&password=***"),
        ("http://host:5000/path", "http://host:5000/path"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("/a/local@path", "/a/local@path"),
    ],
)
def test_a_place_is_shown_without_them(place: str, expected: str) -> None:
    assert shown(place) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "http://name:secret@host:5000/",
        "postgresql://name:secret@host/db",
        "postgresql://host/db?password=secret",
    ],
)
def test_an_error_is_told_without_them(uri: str) -> None:
    text = (
        f"GET {uri}/api or {uri.rstrip('/')}: connection to postgresql://other:secret@host, password secret"
    )
    assert "secret" not in scrubbed(text, uri)
    assert "host" in scrubbed(text, uri)


def test_a_quoted_password_is_found_however_it_is_written() -> None:
    text = scrubbed("p%40ss and p@ss", "http://name:p%40ss@host")
    assert text == "*** and ***"


def test_a_log_is_written_without_them(caplog: pytest.LogCaptureFixture) -> None:
    uri = "http://name:secret@host"
    logger = logging.getLogger("somebody's")
    caplog.handler.addFilter(scrubber := Scrubber(uri))
    try:
        raise ValueError(f"no answer from {uri}")
    except ValueError as error:
        logger.exception("%s failed: %s", uri, error)
    finally:
        caplog.handler.removeFilter(scrubber)
    assert "no answer from http://***@host" in caplog.text and "secret" not in caplog.text
