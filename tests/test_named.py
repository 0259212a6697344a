"""Names with options as text: whatever the options, what is written is read back."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mica.errors import UserError
from mica.named import Named, parse, parse_first

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
words = st.text("abz019._+-:/^~ ()[]{},='\"\\\n\tTNéß") | st.text()
scalars = st.none() | st.booleans() | numbers | words
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=8)
keys = st.from_regex(r"[^\W\d]\w*", fullmatch=True)
names = st.from_regex(r"[\w.:+/-]+", fullmatch=True)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same kind: 1, 1.0 and True are three values."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(names, st.dictionaries(keys, values, max_size=4))
@example("mica", {"a": "NaN", "b": "true", "c": "1", "d": "-", "e": "", "f": "10^4.5", "g": "1e5", "h": "01"})
@example("mica", {"a": ")", "b": "x)-igq(y=1", "c": ["(", {"k": "="}], "d": "two words", "e": " "})
def test_what_is_written_is_read_back(name: str, options: dict[str, Any]) -> None:
    named = Named(name=name, options=options)
    found, read = parse(named.text)
    assert found == name
    assert same(read, options), named.text


@given(names.filter(lambda name: "-" not in name), st.dictionaries(keys, values, max_size=3), names)
def test_what_comes_after_is_left_whatever_the_options_hold(
    name: str, options: dict[str, Any], rest: str
) -> None:
    text = Named(name=name, options=options).text
    found = parse_first(f"{text}-{rest}", stop="-")
    assert found[0] == name and same(found[1], options) and found[2] == f"-{rest}"


@pytest.mark.parametrize(("text", "expected"), [
    ("mlp", ("mlp", {})),
    ("mlp()", ("mlp", {})),
    ("mlp( )", ("mlp", {})),
    ("mlp(hidden=[300, 100])", ("mlp", {"hidden": [300, 100]})),
    ("mica(node_counts=max)", ("mica", {"node_counts": "max"})),
    ('x( a = 1 , b = word , c = "two words" )', ("x", {"a": 1, "b": "word", "c": "two words"})),
    ("x(a=1.0,b=1e-3,c=true,d=null,e=-2)", ("x", {"a": 1.0, "b": 1e-3, "c": True, "d": None, "e": -2})),
    ("x(root=/data/my-files,at=s3://b/k)", ("x", {"root": "/data/my-files", "at": "s3://b/k"})),
    ("x(ratio=10^4.5,version=1.2.3)", ("x", {"ratio": "10^4.5", "version": "1.2.3"})),
    ("mine.nets:small(width=8)", ("mine.nets:small", {"width": 8})),
])  # fmt: skip
def test_how_people_write_it(text: str, expected: tuple[str, dict[str, Any]]) -> None:
    found = parse(text)
    assert found[0] == expected[0] and same(found[1], expected[1])


@pytest.mark.parametrize("text", [
    "x(", "x(a", "x(a=", "x(a=1", "x(a=)", "x(a=1,)", "x(,a=1)", "x(a=1 b=2)", "x(a=1;b=2)", "x(1)",
    "x(a=two words)", "x(a=[1,2)", "x(a=[b])", 'x(a="b)', "x(a=1))", "x(a=1)y",
    "x()(a=1)", "x(a=(1,2))", "x(a==1)",
])  # fmt: skip
def test_what_cannot_be_read_is_said_with_what_can(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert repr(text) in str(error.value) and "allowed is name(option=value" in str(error.value)


def test_an_option_stands_once() -> None:
    with pytest.raises(UserError, match="has the option 'a' twice"):
        parse("x(a=1,a=2)")


def test_the_label_is_the_title_or_short() -> None:
    assert Named(name="mlp").label == "mlp"
    assert Named(name="mlp", options={"hidden": [16, 8]}, defaults={"x": 1}).label == "mlp(hidden=16x8)"
    assert Named(name="mlp", options={"hidden": [16, 8]}, title="small").label == "small"
    assert Named(name="parquet", options={"train": "/a/b/c.parquet"}).label == "parquet(train=c.parquet)"


def test_names_go_into_sets() -> None:
    one, same_one = (Named(name="mlp", options={"hidden": [16]}) for _ in range(2))
    other = Named(name="mlp", options={"hidden": [8]})
    assert len({one, same_one, other}) == 2


def test_a_name_that_a_yaml_list_has_cut_at_its_comma_says_how_to_write_it() -> None:
    with pytest.raises(UserError, match="in a YAML list a name with a comma stands in quotes"):
        parse("rank:mixed(power=3")
    with pytest.raises(UserError) as error:
        parse("rank:mixed(power)")
    assert "YAML" not in str(error.value)
