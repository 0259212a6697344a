"""YAML that is bounded in depth and in size, and that holds only what JSON knows."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from mica.wording import check_text, quoted

MAX_DEPTH = 20
MAX_VALUES = 5_000
"""Scalars, lists and mappings, with those that aliases repeat."""
LONGEST_KEY = 100
LONGEST_TEXT = 10_000
_MOST_DIGITS = 40

_PREFIX = "tag:yaml.org,2002:"
_MAP, _SEQ, _STR, _MERGE = (_PREFIX + name for name in ("map", "seq", "str", "merge"))
_WORDS = {"timestamp": "a date", "binary": "binary data", "set": "a set", "value": "an equals sign"}
_NUMBERS = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9_]*)"),
    "float": re.compile(
        r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
    ),
}
_CONSTANTS = {
    "bool": ("yes", "no", "true", "false", "on", "off"),
    "null": ("", "~", "null"),
}

Keys = tuple[str | int, ...]


class BoundedLoader(yaml.SafeLoader):
    """Stops at a document that is too deep or too large, before anything is made of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._extents: dict[int, tuple[int, int]] = {}
        """Of each finished node: how many values it holds with itself, and how deep it goes."""
        self._deepest = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node with all below it; raises `MarkedYAMLError` where it passes a bound."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        is_alias = isinstance(event, yaml.AliasEvent)
        before, outer = self._count, self._deepest
        self._depth += 1
        self._deepest = self._depth
        self._check(event)
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self._extents:
                raise _fault(event, f"the alias *{event.anchor} stands inside of what it names")
            values, height = self._extents[id(node)]
            self._count += values
            self._deepest += height
        else:
            self._count += 1
            self._extents[id(node)] = (self._count - before, self._deepest - self._depth)
        self._check(event)
        self._depth -= 1
        self._deepest = max(outer, self._deepest)
        return node

    def _check(self, event: Any) -> None:
        if self._deepest > MAX_DEPTH:
            raise _fault(event, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        if self._count > MAX_VALUES:
            raise _fault(event, f"there are more than {MAX_VALUES:,} values")


# YAML 1.1 takes 1e-4 for a text, as it lacks a dot.
BoundedLoader.add_implicit_resolver(
    _PREFIX + "float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789")
)


def _fault(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def faults(node: yaml.Node, keys: Keys = ()) -> Iterator[tuple[int, Keys, str]]:
    """Line, key and complaint for all that is not plain: text, numbers, true, false, lists and mappings."""
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        if problem := _scalar_fault(node):
            yield line, keys, problem
    elif isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
        for index, item in enumerate(node.value):
            yield from faults(item, (*keys, index))
    elif isinstance(node, yaml.MappingNode) and node.tag == _MAP:
        yield from _mapping_faults(node, keys)
    else:
        yield line, keys, _foreign(node)


def _mapping_faults(node: yaml.MappingNode, keys: Keys) -> Iterator[tuple[int, Keys, str]]:
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:  # `<<: *defaults` may be overridden, and stand twice
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if all(isinstance(each, yaml.MappingNode) for each in merged):
                yield from (fault for each in merged for fault in faults(each, keys))
            else:
                yield line, (*keys, "<<"), "allowed is a mapping, or a list of them"
        elif problem := _key_fault(key):
            yield line, keys, problem
        elif key.value in seen:
            yield line, (*keys, key.value), f"the key {key.value!r} stands twice"
        else:
            seen.add(key.value)
            yield from faults(value, (*keys, key.value))


def _key_fault(key: yaml.Node) -> str | None:
    if key.tag != _STR or not isinstance(key, yaml.ScalarNode):
        found = (
            f"the key {quoted(key.value)}" if isinstance(key, yaml.ScalarNode) else "a key of several values"
        )
        return f"found {found}; a key is text"
    try:
        check_text(key.value, longest=LONGEST_KEY)
    except ValueError as error:
        return f"a key that is none: {error}"
    return None


def _scalar_fault(node: yaml.ScalarNode) -> str | None:
    kind, text = node.tag.removeprefix(_PREFIX), node.value
    if kind == "str":
        try:
            check_text(text, longest=LONGEST_TEXT, lines=True)
        except ValueError as error:
            return str(error)
    elif kind in _NUMBERS:
        if not _NUMBERS[kind].fullmatch(text):  # octal, hexadecimal and base 60 are not what people mean
            return f"found {quoted(text)}; a number is written in decimal, and text in quotes"
        if sum(map(str.isdigit, text)) > _MOST_DIGITS:
            return f"found {quoted(text)}, a number of more than {_MOST_DIGITS} digits"
    elif kind in _CONSTANTS:
        if text.lower() not in _CONSTANTS[kind]:
            return f"found {quoted(text)}, which is not {kind}"
    else:
        return _foreign(node)
    return None


def _foreign(node: yaml.Node) -> str:
    """The complaint about a kind of value that only YAML has."""
    kind = node.tag.removeprefix(_PREFIX)
    what = _WORDS.get(kind) or f"a value with the tag {quoted(node.tag)}"
    value = f" ({quoted(node.value)})" if isinstance(node, yaml.ScalarNode) else ""
    hint = "; in quotes it is text" if kind in ("timestamp", "value") else ""
    return f"found {what}{value}; allowed are text, numbers, true, false, lists and mappings{hint}"
