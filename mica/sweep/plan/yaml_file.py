"""Read a YAML file so that every complaint about it can name the line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mica.errors import UserError


class YamlFile:
    """A parsed YAML mapping and where each of its keys stands."""

    def __init__(self, path: Path) -> None:
        """Raises `UserError`: no such file, not YAML, a key that stands twice, or no mapping."""
        self.path = path
        if path.is_dir():
            raise UserError(f"{path}: is a folder; this command needs the sweep file")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from error
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content: Any = yaml.load(text, Loader=_UniqueKeys)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error)
            raise UserError(f"{path}{line}: not valid YAML: {problem}") from error
        except (ValueError, RecursionError) as error:  # a date such as 2024-13-45; brackets without end
            raise UserError(f"{path}: not valid YAML: {error}") from error
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
        prefix = f"{self.path}:{line}" if line else f"{self.path}"
        dotted = ".".join(str(key) for key in keys)
        return f"{prefix}: {dotted}" if dotted else prefix


class _UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a mapping with the same key twice, where YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *defaults` may be overridden, and stand twice
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"found the key {key!r}; a key is text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


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
