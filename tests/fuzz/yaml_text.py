"""From a tree of values to YAML text, odd parts as they are: what `yaml.dump` would refuse to write."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Raw:
    """Text that stands in the file as it is: an alias, a tag, a number as only YAML writes it."""

    text: str


@dataclass
class Pairs:
    """A mapping that may hold a key twice, and keys of any kind."""

    items: list[tuple[object, object]]


Tree = object
"""A scalar, `Raw`, `Pairs`, or a list of trees."""


def tree(value: object) -> Tree:
    """A parsed document with its mappings as `Pairs`, so that they can be changed in every way."""
    if isinstance(value, dict):
        return Pairs([(key, tree(item)) for key, item in value.items()])
    return [tree(item) for item in value] if isinstance(value, list) else value


def text(document: Tree) -> str:
    """The whole file: a line for each key at the top, so that lines mean something."""
    if not isinstance(document, Pairs):
        return flow(document) + "\n"
    return "".join(f"{_key(key)}: {flow(value)}\n" for key, value in document.items)


def flow(value: Tree) -> str:
    """One value in YAML's flow style."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{_key(key)}: {flow(item)}" for key, item in value.items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)  # YAML reads nearly all of JSON


def _key(key: object) -> str:
    if isinstance(key, str) and key.replace("_", "").isalnum() and key.isascii():
        return key
    return f"? {flow(key)}" if isinstance(key, (list, Pairs)) else flow(key)
