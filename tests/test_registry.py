"""Names that can be registered, found, chosen with options, and mistyped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mica.errors import UnknownName, UserError, nearest
from mica.named import Named
from mica.pruners import RankingPruner, pruners, ranking
from mica.registry import Registry, code_digest, function_registry, place_of


def apple(size: int = 3, *, colour: str = "red") -> str:
    return f"a {colour} apple of {size}"


def pear(weather: str, size: int) -> str:
    return f"a pear of {size}, {weather}"


@pytest.fixture
def fruits() -> Registry[Callable[..., Any]]:
    """Functions that are given `weather`."""
    registry = function_registry("fruit", ("weather",))
    registry.add("apple", apple)
    registry.add("pear", pear)
    return registry


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a module of the user's own, which can then be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    return write


def test_an_entry_is_found_by_its_name(fruits) -> None:
    assert fruits.get("pear") is pear
    assert fruits.names() == ["apple", "pear"]
    assert "apple" in fruits and "plum" not in fruits


def test_registering_returns_the_entry_itself(fruits) -> None:
    assert fruits.add("plum", apple) is apple


def test_a_decorator_files_mica_s_own_alone() -> None:
    """A bare name would be known in processes that happen to have loaded the module, and in no others."""
    before = pruners.names()
    own = ranking("apple", needs_images=False)(lambda network, weights: weights)
    assert isinstance(own, RankingPruner) and pruners.names() == before
    assert ranking(needs_images=False)(lambda network, weights: weights).needs_images is False
    with pytest.raises(TypeError, match="a pruner's decorator is written with parentheses"):
        ranking(apple)(pear)


def test_one_name_cannot_be_registered_twice(fruits) -> None:
    with pytest.raises(ValueError, match="fruit 'apple' is registered twice"):
        fruits.add("apple", pear)
    assert fruits.get("apple") is apple


def test_an_unknown_name_lists_the_known_and_the_nearest(fruits) -> None:
    for ask in (fruits.get, fruits.choose, lambda name: fruits.choose({"name": name, "size": 4})):
        with pytest.raises(UnknownName) as error:
            ask("appel")
        message = str(error.value)
        assert "unknown fruit 'appel'" in message
        assert "apple, pear" in message
        assert "did you mean 'apple'?" in message


def test_a_name_that_nothing_is_near_has_no_suggestion() -> None:
    assert nearest("xyz", ["apple", "pear"]) == ""


def test_a_colon_loads_an_entry_of_ones_own(fruits, own_module) -> None:
    path = own_module("orchard_of_mine", "def quince(weather, size=1):\n    return 'a quince'\n")
    assert fruits.get("orchard_of_mine:quince")("sunny") == "a quince"
    chosen = fruits.choose({"name": "orchard_of_mine:quince", "size": 5})
    assert chosen.options == {"size": 5}
    before = chosen.code
    assert before and len(before) == 64 and code_digest("apple") is None
    path.write_text(path.read_text() + "\n# another version\n")
    assert fruits.choose("orchard_of_mine:quince").code not in (None, before)


@pytest.mark.parametrize("path", ["no_such_module_here:x", "math:no_such_name", ":x", "math:"])
def test_an_entry_of_ones_own_that_cannot_be_loaded(fruits, path: str) -> None:
    with pytest.raises(UnknownName, match=f"fruit '{path}' cannot be loaded: "):
        fruits.get(path)


def test_a_module_that_raises_while_it_is_loaded(fruits, own_module) -> None:
    own_module("rotten_of_mine", "import math\nraise RuntimeError('worms')\n")
    with pytest.raises(UnknownName, match=r"cannot be loaded: RuntimeError: worms \(rotten_of_mine.py:2\)$"):
        fruits.get("rotten_of_mine:quince")
    with pytest.raises(UnknownName, match=r"cannot be loaded: ModuleNotFoundError: No module named '[^']*'$"):
        fruits.get("nowhere_of_mine:quince")


def test_an_entry_of_another_kind_is_no_function(fruits, own_module) -> None:
    own_module("other_of_mine", "from mica.models import model\n@model()\ndef net(input_shape): ...\n")
    with pytest.raises(UserError, match="fruit 'other_of_mine:net' is a Model, and no function"):
        fruits.choose("other_of_mine:net")


@pytest.mark.parametrize(("path", "message"), [
    ("math:pi", "fruit 'math:pi' is no function: found 3.14"),
    ("builtins:dict", "does not say what arguments it takes: wrap it in a function of your own"),
])  # fmt: skip
def test_what_is_no_function_that_can_be_called(fruits, path: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        fruits.choose(path)
    assert message in str(error.value)


def test_an_input_under_another_name_looks_like_a_missing_option(fruits, own_module) -> None:
    own_module("hedge_of_mine", "def sloe(wheather):\n    return 'a sloe'\n")
    with pytest.raises(UserError) as error:
        fruits.choose("hedge_of_mine:sloe")
    assert "needs the option 'wheather'" in str(error.value)
    assert "(mica itself gives weather)" in str(error.value)
    with pytest.raises(UserError) as error:
        fruits.choose("pear")
    assert "mica itself gives" not in str(error.value)  # whoever asks for it did not write that function


def test_a_choice_is_the_same_from_a_text_a_mapping_and_a_choice(fruits) -> None:
    chosen = fruits.choose("apple(size=5)")
    assert chosen == Named(name="apple", options={"size": 5}, defaults={"colour": "red"})
    assert fruits.choose({"name": "apple", "size": 5}) == chosen
    assert fruits.choose({"name": "apple(size=5)", "colour": "red"}) == chosen
    assert fruits.choose(chosen) is chosen
    assert fruits.recall(chosen.model_dump()) == fruits.recall("apple(size=5)") == chosen
    assert fruits.choose({"name": "apple", "title": "Apples"}).title == "Apples"


def test_what_a_record_holds_is_taken_as_it_is(fruits) -> None:
    held = Named(name="gone_of_mine:medlar", options={"x": 1}, defaults={"y": 2}, code="c" * 64)
    assert fruits.recall(held.model_dump()) == held
    with pytest.raises(UserError, match="has no option 'options'"):  # a sweep file's words are checked
        fruits.choose(Named(name="apple").model_dump())
    with pytest.raises(UserError, match="has no option 'defaults'"):  # a user's own words are not
        fruits.choose({"name": "apple", "defaults": {"size": 4}})


@pytest.mark.parametrize("chosen", [5, None, ["apple"], {"size": 5}, {"name": 5}])
def test_what_names_nothing(fruits, chosen: object) -> None:
    with pytest.raises(UserError, match="allowed is a name, or a mapping with a name and options"):
        fruits.choose(chosen)


def test_a_title_is_text(fruits) -> None:
    with pytest.raises(UserError, match="fruit 'apple': its title is 5; a title is text"):
        fruits.choose({"name": "apple", "title": 5})


def test_the_place_of_a_function_is_its_file_and_line() -> None:
    from mica.models.mlp import mlp

    assert place_of(apple) == f" (test_registry.py:{apple.__code__.co_firstlineno})"
    assert place_of(mlp.build) == ""  # mica's own is not the user's to mend
    assert place_of(int) == place_of(len) == ""
