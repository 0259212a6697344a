"""Named extension points: pruners, distributions, models and data sets are looked up here."""

import dataclasses
import hashlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from mica.errors import CodeError, UnknownName, UserError, nearest
from mica.named import Named, parse
from mica.options import Options, options_of
from mica.wording import check_no_password, check_text, quoted

T = TypeVar("T")
_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
LONGEST_TITLE = 100


class Registry(Generic[T]):
    """Name → entry. A name of the form `package.module:attribute` loads a user's own entry."""

    def __init__(
        self,
        kind: str,
        *,
        accept: Callable[[object], T],
        options: Callable[[T], Options],
        inputs: str,
    ) -> None:
        """An empty registry.

        Args:
            kind: what its entries are called in messages.
            accept: makes an entry of what a user's own name stands for, or raises `TypeError`.
            options: an entry's options.
            inputs: what mica itself gives to an entry's function, for messages.
        """
        self.kind, self.inputs = kind, inputs
        self._accept, self._options = accept, options
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """File an entry under a name; a second one of that name is an error."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def file(self, name: str | None, function: Callable[..., object], entry: T) -> T:
        """What a decorator does with its function: file it, if it is mica's own, and return its entry.

        A user's own goes by `package.module:function` alone. Any other would be known only where the module
        is loaded already, and taken when it is loaded once more.

        Raises:
            TypeError: the decorator was written without parentheses.
        """
        if callable(name):
            raise TypeError(f"a {self.kind}'s decorator is written with parentheses: @…()")
        if name is not None and _is_mica_s(function):
            self.add(name, entry)
        return entry

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
            f"unknown {self.kind} {quoted(name)}: known are {', '.join(self._entries)}, "
            f"or your own as package.module:name{nearest(name, self._entries)}"
        )

    def options(self, name: str) -> Options:
        """Those of the entry of this name."""
        return self._options(self.get(name))

    def choose(self, chosen: object) -> Named:
        """The name with all its options, checked.

        Args:
            chosen: a name; a text such as `mlp(hidden=[64])`; a mapping of name, title and options; or a
                `Named`, which was chosen before and is taken as it is.

        Raises:
            UnknownName: no such entry; of a user's own name, `CodeError`.
            UserError: it does not take these options; of a user's own name, `CodeError`.
        """
        if isinstance(chosen, Named):
            return chosen
        if isinstance(chosen, str):
            name, options = parse(chosen)
            title = None
        elif isinstance(chosen, Mapping) and isinstance(chosen.get("name"), str):
            name, given = parse(chosen["name"])
            options = given | {str(k): v for k, v in chosen.items() if k not in ("name", "title")}
            title = chosen.get("title")
            if title is not None:
                check_title(f"{self.kind} {quoted(name)}", title)
        else:
            raise UserError(
                f"found {quoted(chosen)}; allowed is a name, or a mapping with a name and options"
            )
        entry = self.get(name)
        what = f"{self.kind} {quoted(name)}"
        try:
            changed, defaults = self._options(entry).checked(what, options)
        except UserError as error:
            if ":" not in name:
                raise
            # A parameter that mica knows by another name looks like an option without a default.
            tail = f" (mica itself gives {self.inputs})" if "needs the option" in str(error) else ""
            raise CodeError(f"{error}{tail}") from None
        return Named(name=name, options=changed, defaults=defaults, title=title, code=code_digest(name))

    def recall(self, chosen: object) -> Named:
        """`choose`, or what a record holds of a choice, which is taken as it is."""
        if isinstance(chosen, Mapping) and set(chosen) == set(Named.model_fields):
            return Named(**chosen)
        return self.choose(chosen)

    def _load(self, path: str) -> T:
        if not _OWN.fullmatch(path):  # `s3://x` would import a module s3 that happens to be near
            raise UnknownName(
                f"{self.kind} {quoted(path)} cannot be loaded: your own has the form package.module:name"
            )
        module_name, _, attribute = path.partition(":")
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as error:  # a user's own module may raise anything while it is loaded
            reason = f"{type(error).__name__}: {error}".partition("\n")[0] + _raised_at(error)
            raise CodeError(f"{self.kind} {quoted(path)} cannot be loaded: {reason}") from error
        try:
            return self._accept(found)
        except TypeError as error:
            raise CodeError(f"{self.kind} {quoted(path)} {error}") from None


def function_registry(kind: str, inputs: tuple[str, ...]) -> Registry[Callable[..., Any]]:
    """A registry whose entries are plain functions that mica gives these inputs."""
    return Registry(
        kind,
        accept=_a_function,
        options=lambda function: options_of(function, inputs),
        inputs=", ".join(inputs) or "nothing",
    )


def _a_function(found: object) -> Callable[..., Any]:
    if dataclasses.is_dataclass(found) and not isinstance(found, type):  # an entry of another registry
        raise TypeError(f"is a {type(found).__name__}, and no function")
    if not callable(found):
        raise TypeError(f"is no function: found {quoted(found)}")
    check_signature(found)
    return found


def check_title(what: str, title: object) -> None:
    """Raises `UserError` unless the title is a text that tables and figures can show."""
    if not isinstance(title, str) or not title.strip():
        raise UserError(f"{what}: its title is {quoted(title)}; a title is text")
    try:
        check_text(title, longest=LONGEST_TITLE)
        check_no_password(title)
    except ValueError as error:
        raise UserError(f"{what}: its title: {error}") from None


def check_signature(function: Callable[..., object]) -> None:
    """Raises `TypeError` for a function that does not say what it takes, as some of Python's own."""
    try:
        inspect.signature(function)
    except ValueError:
        raise TypeError("does not say what arguments it takes: wrap it in a function of your own") from None


def place_of(function: Callable[..., object]) -> str:
    """` (mine.py:12)`, where a user's function stands; nothing for mica's own."""
    if _is_mica_s(function):
        return ""
    try:
        file = inspect.getsourcefile(function)
        return f" ({Path(file).name}:{inspect.getsourcelines(function)[1]})" if file else ""
    except (OSError, TypeError):
        return ""


def _is_mica_s(function: Callable[..., object]) -> bool:
    return function.__module__.partition(".")[0] == "mica"


def _raised_at(error: BaseException) -> str:
    """` (mine.py:12)`, the line of a user's module that could not be loaded; nothing if none was reached."""
    if isinstance(error, SyntaxError):  # says so itself
        return ""
    machinery = (__file__, importlib.__file__)
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename not in machinery and not frame.filename.startswith("<frozen"):
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""


def user_module(name: str) -> str | None:
    """The module of a name `package.module:attribute`; None for a registered name."""
    return name.partition(":")[0] if ":" in name else None


def code_digest(name: str) -> str | None:
    """SHA-256 of the source of the module that a user's own name stands in; None where there is none."""
    module = sys.modules.get(user_module(name) or "")
    file = getattr(module, "__file__", None)
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    except OSError:
        return None
