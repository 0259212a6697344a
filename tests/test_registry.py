"""Names that can be registered, found, and mistyped."""

from pathlib import Path

import pytest

from mica.errors import UnknownName, UserError
from mica.registry import Registry, check_options, nearest


@pytest.fixture
def fruits() -> Registry[str]:
    registry: Registry[str] = Registry("fruit")
    registry.register("apple")("an apple")
    registry.register("pear")("a pear")
    return registry


def test_an_entry_is_found_by_its_name(fruits: Registry[str]) -> None:
    assert fruits.get("pear") == "a pear"
    assert fruits.names() == ["apple", "pear"]
    assert "apple" in fruits and "plum" not in fruits


def test_registering_returns_the_entry_itself(fruits: Registry[str]) -> None:
    assert fruits.register("plum")("a plum") == "a plum"


def test_one_name_cannot_be_registered_twice(fruits: Registry[str]) -> None:
    with pytest.raises(ValueError, match="fruit 'apple' is registered twice"):
        fruits.register("apple")("another")
    assert fruits.get("apple") == "an apple"


def test_an_unknown_name_lists_the_known_and_the_nearest(fruits: Registry[str]) -> None:
    with pytest.raises(UnknownName) as error:
        fruits.get("appel")
    message = str(error.value)
    assert "unknown fruit 'appel'" in message
    assert "apple, pear" in message
    assert "did you mean 'apple'?" in message


def test_a_name_that_nothing_is_near_has_no_suggestion() -> None:
    assert nearest("xyz", ["apple", "pear"]) == ""


def test_a_colon_loads_an_entry_of_ones_own(
    fruits: Registry[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchard_of_mine.py").write_text("quince = 'a quince'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert fruits.get("orchard_of_mine:quince") == "a quince"


@pytest.mark.parametrize("path", ["no_such_module_here:x", "math:no_such_name", ":x", "math:"])
def test_an_entry_of_ones_own_that_cannot_be_loaded(fruits: Registry[str], path: str) -> None:
    with pytest.raises(UnknownName, match=f"fruit '{path}' cannot be loaded: "):
        fruits.get(path)


def takes_two(given: int, *, width: int, depth: int = 2) -> None: ...


def takes_anything(given: int, **options: object) -> None: ...


def test_options_that_a_function_takes_pass() -> None:
    check_options("thing", takes_two, {"width": 1}, given=1)
    check_options("thing", takes_two, {"width": 1, "depth": 3}, given=1)
    check_options("thing", takes_anything, {"whatever": 1}, given=1)


def test_an_unknown_option_names_the_allowed_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no option 'widht': allowed are width, depth; did you mean 'width'"):
        check_options("thing", takes_two, {"widht": 1}, given=1)


def test_an_argument_that_the_caller_gives_is_no_option() -> None:
    with pytest.raises(UserError, match="no option 'given'"):
        check_options("thing", takes_two, {"given": 1, "width": 1}, given=1)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(UserError, match="thing needs the option 'width'"):
        check_options("thing", takes_two, {}, given=1)
