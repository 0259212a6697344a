"""What messages and records may show of a value: short, in one line, no password."""

import pytest

from mica.wording import check_no_password, check_place, check_text, counted, quoted, shown


def test_what_there_is_one_of_has_no_s() -> None:
    assert [counted(number, "trial") for number in (0, 1, 2604)] == ["0 trials", "1 trial", "2,604 trials"]


@pytest.mark.parametrize(("text", "expected"), [
    ("s3://key:secret@bucket/a.parquet", "s3://***@bucket/a.parquet"),
    ("s3://key:sec/ret+x=@bucket/a", "s3://***@bucket/a"),
    ("http://me:p@ss@host:5000/x", "http://***@host:5000/x"),
    ("https://host/x?a=1&token=abc&X-Amz-Signature=f00&b=2", "https://host/x?a=1&token=***&X-Amz-Signature=***&b=2"),
    ("from s3://a:b@c, to s3://d:e@f", "from s3://***@c, to s3://***@f"),
    ("/local/me@home.parquet", "/local/me@home.parquet"),
    ("s3://bucket/a.parquet", "s3://bucket/a.parquet"),
    ("https://host/x?keyword=cat", "https://host/x?keyword=cat"),
])  # fmt: skip
def test_a_uri_is_shown_without_its_secrets(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_value_is_quoted_short_and_without_secrets() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted(["s3://key:secret@bucket"]) == "['s3://***@bucket']"
    assert len(quoted(list(range(10**5)))) == 120
    itself: list[object] = []
    itself.append(itself)
    assert quoted(itself) == "[[...]]"
    assert quoted(10**5000) == "a int too large to show"


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\x85b", "a\u2028b", "\ud800", "x" * 11, "a\tb"])
def test_a_text_that_cannot_be_shown(text: str) -> None:
    with pytest.raises(ValueError):
        check_text(text, longest=10)
    check_text("naïve 日本 💥", longest=10)
    check_text("a\n\tb", longest=10, lines=True)


@pytest.mark.parametrize(
    "place", ["", " ", "a\0b", "a\nb", "x" * 2000, "s3://k:secret@b", "https://h/x?sig=abc"]
)
def test_a_place_that_is_none(place: str) -> None:
    with pytest.raises(ValueError) as error:
        check_place(place)
    assert "secret" not in str(error.value) and "abc" not in str(error.value)


@pytest.mark.parametrize("place", [
    "s3://$KEY:$SECRET@bucket/x", "s3://key:${SECRET}@bucket", "hdfs://me@host:8020/x", "http://127.0.0.1:5000/a@b",
    "https://host/x?token=$TOKEN", "postgresql://me:$PW@host/db", "a:b@c",
])  # fmt: skip
def test_the_name_of_a_variable_is_no_password(place: str) -> None:
    check_no_password(place)
