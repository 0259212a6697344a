"""A function's options: the keyword arguments that a user may set, read from its signature."""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from mica.errors import UserError, nearest
from mica.wording import check_no_password, check_text, quoted

LATER = "came later"
"""Stands in the annotation of an option that came after the first records: `Annotated[float, LATER]`.

At its default it takes no part in a trial's key, so that what was recorded before keeps its trial.
"""
_REQUIRED = inspect.Parameter.empty
_LONGEST = 10_000
"""Characters of an option's value as JSON."""
_WHOLE = 2**63
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Options:
    """What may be set: each option's default and annotation."""

    defaults: Mapping[str, Any]
    """Name → default, `inspect.Parameter.empty` where there is none."""
    annotations: Mapping[str, Any]
    """Name → type, where it is annotated."""
    others: bool = False
    """Whether options of any other name are taken too (`**kwargs`)."""

    def with_option(self, name: str, default: Any, annotation: Any) -> "Options":
        """The same and one more."""
        return Options({**self.defaults, name: default}, {**self.annotations, name: annotation}, self.others)

    def checked(self, what: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What differs from the defaults, and the defaults of the rest, those that came later apart.

        All as JSON knows it.

        Args:
            what: names the function in messages, such as `model 'mlp'`.

        Raises:
            UserError: an option is unknown, missing, or not of its annotation's type.
        """
        known = ", ".join(self.defaults)
        for name in given:
            if name not in self.defaults and not (self.others and name.isidentifier()):
                allowed = f"allowed are {known}" if known else "it takes none"
                raise UserError(
                    f"{what} has no option {quoted(name)}: {allowed}{nearest(name, self.defaults)}"
                )
        for name, default in self.defaults.items():
            if default is _REQUIRED and name not in given:
                raise UserError(f"{what} needs the option {name!r}; its options are {known}")
        defaults = {name: _plain(value) for name, value in self.defaults.items() if value is not _REQUIRED}
        values = {name: self._value(f"{what}: {name}", name, value) for name, value in given.items()}
        changed = {n: v for n, v in sorted(values.items()) if n not in defaults or defaults[n] != v}
        rest = {n: value for n, value in defaults.items() if n not in changed and not self._came_later(n)}
        return changed, rest

    def _came_later(self, name: str) -> bool:
        return LATER in getattr(self.annotations.get(name), "__metadata__", ())

    def _value(self, what: str, name: str, value: Any) -> Any:
        annotation = self.annotations.get(name, Any)
        if get_origin(annotation) is Literal and isinstance(value, str):
            check_choice(what, value, annotation)
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            allowed = "numbers, text, true, false, and lists and mappings of them"
            raise UserError(f"{what} is {quoted(value)}; allowed are {allowed}") from None
        if len(text) > _LONGEST:
            raise UserError(f"{what} is {quoted(value)}; allowed are {_LONGEST:,} characters of JSON")
        try:
            _check_parts(value)
        except ValueError as error:
            raise UserError(f"{what}: {error}") from None
        adapter = _adapter(annotation)
        if adapter is None:
            return json.loads(text)
        try:
            return adapter.dump_python(adapter.validate_json(text, strict=True), mode="json")
        except ValidationError as error:
            allowed = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise UserError(f"{what} is {quoted(value)}; allowed is {allowed}") from None

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the function wants them: of the types of its annotations, its defaults left to it.

        A default may be what JSON does not know, such as a class: its name stands for it in records only.

        Raises:
            UserError: one of a record's is not of its annotation's type, which may be another by now.
        """
        found = {}
        for name, value in options.items():
            default = self.defaults.get(name, _REQUIRED)
            if default is _REQUIRED or _plain(default) != value:
                adapter = _adapter(self.annotations.get(name, Any))
                try:
                    found[name] = adapter.validate_json(json.dumps(value)) if adapter else value
                except ValidationError as error:
                    raise UserError(f"{name} is {quoted(value)}; {error.errors()[0]['msg']}") from None
        return found


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """What checks and converts values of this type; None for a type that pydantic does not know."""
    try:
        return TypeAdapter(annotation)
    except (PydanticUserError, NameError):
        return None


@cache
def options_of(function: Callable[..., object], inputs: tuple[str, ...] = ()) -> Options:
    """The options of a function: all that its signature names beside the `inputs` that mica gives.

    Raises:
        ValueError, TypeError: it has no signature, as some of Python's own have none.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:  # an annotation that only a type checker can read
        signature = inspect.signature(function)
    parameters = signature.parameters.values()
    named = [p for p in parameters if p.kind in _KINDS and p.name not in inputs]
    return Options(
        {p.name: p.default for p in named},
        {
            p.name: p.annotation
            for p in named
            if not isinstance(p.annotation, str) and p.annotation is not p.empty
        },
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function's signature names an input."""
    return name in inspect.signature(function).parameters


def call(function: Callable[..., Any], given: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Call a function with its options and with those of the `given` inputs that its signature names."""
    names = inspect.signature(function).parameters
    inputs = {name: value for name, value in given.items() if name in names}
    return function(**inputs, **options_of(function).arguments(options))


def check_choice(what: str, value: str, choices: Any) -> None:
    """Raises `UserError` unless the value is one of a `Literal`'s."""
    if value not in get_args(choices):
        allowed = ", ".join(map(str, get_args(choices)))
        raise UserError(
            f"{what} is {quoted(value)}; allowed are {allowed}{nearest(value, get_args(choices))}"
        )


def _check_parts(value: Any) -> None:
    """Raises `ValueError` for a part of a value that no table, record or log can hold."""
    if isinstance(value, str):
        check_text(value, longest=_LONGEST, lines=True)
        check_no_password(value)
    elif isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise ValueError(f"found {quoted(value)}; whole numbers lie between -2^63 and 2^63 - 1")
    elif isinstance(value, Mapping):
        for part in (*value.keys(), *value.values()):
            _check_parts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_parts(part)


def _plain(default: Any) -> Any:
    """A default as JSON knows it; a class or function by its name."""
    try:
        return json.loads(json.dumps(default, allow_nan=False))
    except (TypeError, ValueError):
        return getattr(default, "__qualname__", None) or repr(default)
