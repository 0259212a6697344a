"""A function's options, read from its signature: checked, filled in, and handed to it as it wants them."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import Field

from mica.errors import UserError
from mica.options import LATER, call, check_choice, options_of

if TYPE_CHECKING:
    from nowhere import Nothing


class Colour(Enum):
    RED = "red"


class Odd:
    """A type that pydantic does not know."""


def widget(
    given: int,
    width: int,
    depth: int = 2,
    *,
    kind: Literal["round", "square"] = "round",
    scale: float = 1,
    sizes: Sequence[int] = (3, 4),
    label: str | None = None,
    loud: bool = False,
    share: Annotated[float, Field(gt=0)] = 0.5,
) -> dict[str, Any]:
    return dict(locals())


def anything(given: int, depth: int = 2, **others: object) -> dict[str, Any]:
    return {"given": given, "depth": depth, **others}


def checked(function: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return options_of(function, ("given",)).checked("thing 'w'", options)


def fault(function: Any, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        checked(function, **options)
    return str(error.value)


DEFAULTS = {
    "depth": 2, "kind": "round", "scale": 1, "sizes": [3, 4], "label": None, "loud": False, "share": 0.5,
}  # fmt: skip


def test_defaults_are_filled_in() -> None:
    assert checked(widget, width=7) == ({"width": 7}, DEFAULTS)


def test_what_is_spelled_out_as_the_default_is_the_default() -> None:
    spelled = {"depth": 2, "kind": "round", "scale": 1.0, "sizes": (3, 4), "label": None, "share": 0.5}
    assert checked(widget, width=7, **spelled) == ({"width": 7}, DEFAULTS)


def test_order_does_not_matter() -> None:
    one, other = checked(widget, width=7, depth=3), checked(widget, depth=3, width=7)
    assert one == other and list(one[0]) == list(other[0])


def test_one_number_has_one_spelling_where_its_type_is_known() -> None:
    one, other = checked(widget, width=7, scale=3)[0], checked(widget, width=7, scale=3.0)[0]
    assert repr(one) == repr(other)  # as keys are made of text


def test_an_unknown_option_names_the_allowed_and_the_nearest() -> None:
    message = fault(widget, widht=7)
    assert message.startswith("thing 'w' has no option 'widht': allowed are width, depth, kind")
    assert message.endswith("; did you mean 'width'?")
    assert fault(lambda given: None, x=1) == "thing 'w' has no option 'x': it takes none"


def test_what_mica_gives_is_no_option() -> None:
    assert "no option 'given'" in fault(widget, given=1, width=7)


def test_a_missing_option_is_named() -> None:
    assert "thing 'w' needs the option 'width'; its options are width, depth" in fault(widget, depth=3)


@pytest.mark.parametrize(("option", "message"), [
    ({"width": "7"}, "thing 'w': width is '7'; allowed is a valid integer"),
    ({"width": 7.0}, "width is 7.0; allowed is a valid integer"),
    ({"width": True}, "width is True; allowed is a valid integer"),
    ({"width": None}, "width is None"),
    ({"width": 7, "kind": "rund"}, "kind is 'rund'; allowed are round, square; did you mean 'round'?"),
    ({"width": 7, "kind": 3}, "kind is 3; allowed is 'round' or 'square'"),
    ({"width": 7, "sizes": [1, "x"]}, "sizes is [1, 'x']"),
    ({"width": 7, "sizes": 5}, "sizes is 5"),
    ({"width": 7, "loud": 1}, "loud is 1; allowed is a valid boolean"),
    ({"width": 7, "label": 5}, "label is 5"),
    ({"width": 7, "share": 0}, "share is 0; allowed is greater than 0"),
    ({"width": 7, "scale": float("nan")}, "scale is nan; allowed are numbers, text, true, false, and lists"),
    ({"width": 7, "label": object}, "label is <class 'object'>; allowed are numbers"),
])  # fmt: skip
def test_an_option_of_another_type_is_said_with_what_is_allowed(option: dict[str, Any], message: str) -> None:
    assert message in fault(widget, **option)


def test_a_choice_of_a_literal() -> None:
    check_choice("kind", "round", Literal["round", "square"])
    with pytest.raises(UserError, match=r"kind is 'sqare'; allowed are round, square; did you mean 'sq"):
        check_choice("kind", "sqare", Literal["round", "square"])


def test_any_name_will_do_where_a_function_takes_any() -> None:
    assert checked(anything, whatever=[1], depth=2) == ({"whatever": [1]}, {"depth": 2})
    assert "depth is 'x'" in fault(anything, depth="x")
    assert "has no option 'two words'" in fault(anything, **{"two words": 1})


def test_a_function_is_called_with_what_it_names_of_the_given() -> None:
    assert call(anything, {"given": 1}, {"x": 5}) == {"given": 1, "depth": 2, "x": 5}
    assert call(lambda size: size, {"given": 1, "other": 2}, {"size": 3}) == 3


class Layer: ...


def with_objects(
    given: int,
    act: type = Layer,
    sizes: tuple[int, ...] = (3, 4),
    root: Path = Path("a"),
    of: Colour = Colour.RED,
) -> tuple[Any, ...]:
    return act, sizes, root, of


def test_a_default_that_json_does_not_know_stays_what_it_is() -> None:
    changed, defaults = checked(with_objects)
    assert not changed and defaults["act"] == "Layer"  # for people and for keys
    found = call(with_objects, {"given": 1}, {**changed, **defaults})
    assert found == (Layer, (3, 4), Path("a"), Colour.RED)


def test_options_come_as_their_annotations_say() -> None:
    changed, defaults = checked(with_objects, sizes=[5], root="b")
    assert changed == {"root": "b", "sizes": [5]}  # as JSON, which a record keeps
    assert call(with_objects, {"given": 1}, {**changed, **defaults})[1:3] == ((5,), Path("b"))


def test_a_default_of_a_record_that_is_another_by_now_still_counts() -> None:
    def now(depth: int = 9) -> int:
        return depth

    assert call(now, {}, {"depth": 2}) == 2


def test_annotations_that_cannot_be_read_check_nothing() -> None:
    def unreadable(x: "Nothing", y: "not a type" = 1, z: Odd = None, w: "list[Nothing]" = ()) -> None: ...  # type: ignore  # noqa

    assert checked(unreadable, x=[1, "a"], z={"k": 2}) == ({"x": [1, "a"], "z": {"k": 2}}, {"y": 1, "w": []})


def rounder(radius: int, *, edge: int = 1, polish: Annotated[float, Field(ge=0), LATER] = 0.0) -> float:
    return radius * edge + polish


def test_what_came_later_is_told_of_only_where_it_is_set() -> None:
    options = options_of(rounder, ("radius",))
    assert options.checked("rounder", {}) == ({}, {"edge": 1})
    assert options.checked("rounder", {"polish": 0}) == ({}, {"edge": 1})
    changed, defaults = options.checked("rounder", {"polish": 0.25})
    assert (changed, defaults) == ({"polish": 0.25}, {"edge": 1})
    assert call(rounder, {"radius": 2}, {**defaults, **changed}) == 2.25
    with pytest.raises(UserError, match="polish is -1"):
        options.checked("rounder", {"polish": -1})
