"""Named: a pruner, distribution, model or data set by its name, with its options."""

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mica.errors import UserError

_BARE = re.compile(r"[\w.+:/^-]+")
_DECODER = json.JSONDecoder()


class Named(BaseModel):
    """A registered name, or `package.module:function`, with every option that its function has.

    Made by a registry, which looks the name up and checks the options; read back from a record as it is,
    so that whoever reads results needs none of the user's code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict, description="Those that are not as by default.")
    defaults: dict[str, Any] = Field(default_factory=dict, description="The other options.")
    title: str | None = Field(None, description="How tables and figures call it.")
    code: str | None = Field(None, description="SHA-256 of the user's own module, for a name of that kind.")

    @property
    def all_options(self) -> dict[str, Any]:
        """Every option, whether set or not."""
        return {**self.defaults, **self.options}

    @property
    def text(self) -> str:
        """The name and what is not default, `mica(node_counts=max)`: `parse` reads it back."""
        if not self.options:
            return self.name
        return f"{self.name}({','.join(f'{key}={value}' for key, value in self.written.items())})"

    @property
    def written(self) -> dict[str, str]:
        """What is not default, each value as `parse` reads it."""
        return {key: _written(value) for key, value in self.options.items()}

    @property
    def label(self) -> str:
        """The title; without one the name and what is not default, long values cut to what people need."""
        if self.title or not self.options:
            return self.title or self.name
        options = ",".join(f"{key}={_short(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}({options})"


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a text such as `mica(node_counts=max)`; values are JSON, or words.

    Raises:
        UserError: it is not of this form.
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return text, {}
    options: dict[str, Any] = {}
    at = 0
    while rest[at:] != ")":
        match = re.compile(r",?\s*(\w+)\s*=\s*").match(rest, at)
        if not match:
            raise UserError(f"{text!r} is not of the form name(option=value,…)")
        options[match[1]], at = _read(rest, match.end())
    return name, options


def _read(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, at)
        if text[end : end + 1] in (",", ")"):
            return value, end
    except ValueError:
        pass
    word = _BARE.match(text, at)
    return (word[0], word.end()) if word else ("", len(text))


def _written(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and _read(f"{value})", 0)[0] == value:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition("/")[2]  # of a path its last part
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
