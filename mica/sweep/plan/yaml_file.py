"""Read a YAML file so that every complaint about it can name the line."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from mica.errors import UserError
from mica.sweep.plan.bounded_yaml import BoundedLoader, faults
from mica.sweep.plan.small_file import read_small
from mica.wording import quoted, shown

MOST_LINES = 20
"""Of complaints in one message."""


class YamlFile:
    """A parsed YAML mapping and where each of its keys stands."""

    def __init__(self, path: Path) -> None:
        """Raises `UserError`: no such file, not YAML, more than JSON knows, too large, or no mapping."""
        self.path = path
        text = read_small(path)
        try:
            loader = BoundedLoader(text)
            self._root: yaml.Node | None = loader.get_single_node()
            if self._root is not None:
                found = (self._line(line, keys) + problem for line, keys, problem in faults(self._root))
                if message := first_lines(found):
                    raise UserError(message)
            self.content: Any = None if self._root is None else loader.construct_document(self._root)
        except yaml.YAMLError as error:
            raise UserError(
                f"{self.path}{_line_of(error, text)}: not valid YAML: {_problem(error)}"
            ) from None
        if not isinstance(self.content, dict):
            raise UserError(f"{path}: a sweep is a mapping of keys, found {_kind(self.content)}")

    def where(self, keys: Sequence[str | int]) -> str:
        """`file:line: key.path` of a key, or of the innermost part of its path that the file holds."""
        node, line = self._root, None
        for key in keys:
            step = _child(node, key)
            if step is None:
                break
            node, line = step
        return self._line(line, keys).removesuffix(": ")

    def _line(self, line: int | None, keys: Sequence[str | int]) -> str:
        """`file:line: key.path: `, as far as they are known."""
        prefix = f"{self.path}:{line}" if line else f"{self.path}"
        dotted = shown(".".join(map(str, keys)))
        return f"{prefix}: {dotted}: " if dotted else f"{prefix}: "


def first_lines(lines: Iterable[str]) -> str:
    """The first complaints, one a line; a last line says that there are more. Nothing where there is none."""
    first = list(islice(lines, MOST_LINES + 1))
    if len(first) > MOST_LINES:
        first[-1] = f"{first[-1].partition(': ')[0]}: and more after these {MOST_LINES}"
    return "\n".join(first)


def _line_of(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f":{text.count(chr(10), 0, error.position) + 1}"
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"found the character {chr(int(error.character))!r}, which no text holds"
    problem = getattr(error, "problem", None) or str(error)
    return problem if problem.isprintable() else quoted(problem)


def _child(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if key_node.value == str(key):
                return value, key_node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line + 1
    return None


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
