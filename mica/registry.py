"""Named extension points: pruners, distributions, models and data sets are looked up here."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, get_args

from mica.errors import UnknownName, UserError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A tail for error messages, `; did you mean 'x'?`, or nothing when no known name is near."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def check_options(
    what: str, function: Callable[..., object], options: Mapping[str, Any], *, given: int = 0
) -> None:
    """Raises `UserError` unless `function` takes these keyword arguments, and needs no others.

    Args:
        what: names the entry in messages, such as `model 'mlp'`.
        given: how many leading arguments the caller passes itself.
    """
    if not callable(function):
        raise UserError(f"{what} is no function: found {function!r}")
    parameters = list(inspect.signature(function).parameters.values())[given:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    for option in options:
        if option not in known:
            allowed = ", ".join(known) or "none"
            raise UserError(f"{what} has no option {option!r}: allowed are {allowed}{nearest(option, known)}")
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise UserError(f"{what} needs the option {missing[0]!r}; its options are {', '.join(known)}")


def check_choice(what: str, value: str, choices: Any) -> None:
    """Raises `UserError` unless the value is one of a `Literal`'s."""
    if value not in get_args(choices):
        allowed = ", ".join(get_args(choices))
        raise UserError(f"{what} is {value!r}; allowed are {allowed}{nearest(value, get_args(choices))}")


class Registry(Generic[T]):
    """Name → entry. A name of the form `package.module:attribute` loads a user's own entry."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an entry under `name`; a second entry of one name is an error."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """The registered names, in order of registration."""
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> T:
        """The entry of this name; raises `UnknownName` with the known ones and the nearest."""
        if name in self._entries:
            return self._entries[name]
        if ":" in name:
            return self._load(name)
        raise UnknownName(
            f"unknown {self.kind} {name!r}: known are {', '.join(self._entries)}, "
            f"or your own as package.module:name{nearest(name, self._entries)}"
        )

    def _load(self, path: str) -> T:
        module_name, _, attribute = path.partition(":")
        try:
            entry: T = getattr(importlib.import_module(module_name), attribute)
        except Exception as error:  # a user's own module may raise anything while it is loaded
            found = f"{type(error).__name__}: {error}"
            raise UnknownName(f"{self.kind} {path!r} cannot be loaded: {found}") from error
        return entry
