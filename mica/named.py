"""Named: a pruner, distribution, model or data set by its name, with its options."""

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mica.errors import UserError
from mica.wording import quoted

_LONGEST = 10_000
"""Characters of a name with its options."""
_WORD = re.compile(r"[\w.+:/^-]+")
_OPTION = re.compile(r"\s*(\w+)\s*=\s*")
_END = re.compile(r"\s*([,)])")
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

    def __hash__(self) -> int:
        return hash(self.name)  # options are a dict, which has no hash

    @property
    def all_options(self) -> dict[str, Any]:
        """Every option, whether set or not."""
        return {**self.defaults, **self.options}

    @property
    def text(self) -> str:
        """The name and what is not default, `mica(node_counts=max)`; `parse` reads it back."""
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
    name, options, rest = parse_first(text, stop="")
    if rest:
        raise UserError(f"{quoted(text)} goes on after its bracket: {_FORM}")
    return name, options


def parse_first(text: str, stop: str) -> tuple[str, dict[str, Any], str]:
    """Name and options that a text begins with, and the rest of it.

    Args:
        text: such as `mica(node_counts=max)-igq`.
        stop: signs that no name holds, beside the bracket.

    Raises:
        UserError: its bracket is not of the form name(option=value,…), or it is too long.
    """
    if len(text) > _LONGEST:
        raise UserError(f"found {quoted(text)}; allowed are {_LONGEST:,} characters")
    name = re.split(f"[({re.escape(stop)}]", text, maxsplit=1)[0]
    at = len(name)
    options: dict[str, Any] = {}
    if text[at : at + 1] != "(":
        return name, options, text[at:]
    if empty := re.compile(r"\(\s*\)").match(text, at):
        return name, options, text[empty.end() :]
    while text[at] != ")":
        option = _OPTION.match(text, at + 1)
        value = _read(text, option.end()) if option else None
        if not option or not value:
            cut = "" if ")" in text else "; in a YAML list a name with a comma stands in quotes"
            raise UserError(f"{quoted(text)} cannot be read after {quoted(text[: at + 1])}: {_FORM}{cut}")
        if option[1] in options:
            raise UserError(f"{quoted(text)} has the option {quoted(option[1])} twice")
        options[option[1]], at = value
    return name, options, text[at + 1 :]


_FORM = 'allowed is name(option=value,…); a value is a word or JSON, such as 3, [8,4] or "two words"'


def _read(text: str, at: int) -> tuple[Any, int] | None:
    """The value that begins there, and where the comma or bracket after it stands; None if there is none."""
    try:
        value, end = _DECODER.raw_decode(text, at)
        if after := _END.match(text, end):
            return value, after.start(1)
    except (ValueError, RecursionError):  # brackets without end
        pass
    word = _WORD.match(text, at)
    after = _END.match(text, word.end()) if word else None
    return (word[0], after.start(1)) if word and after else None


def _written(value: Any) -> str:
    if isinstance(value, str) and _WORD.fullmatch(value) and _read(f"{value})", 0) == (value, len(value)):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition("/")[2]  # of a path its last part
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
