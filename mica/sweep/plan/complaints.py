"""pydantic's complaints about a sweep file, each as one line with its place in the file."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from mica.errors import nearest
from mica.sweep.plan.yaml_file import YamlFile, first_lines
from mica.wording import quoted

Keys = list[str | int]
Known = Mapping[str, type[BaseModel]]
"""Key → what the mapping under it may hold; under "" that of the whole file."""


def complaints(file: YamlFile, error: ValidationError, known: Known) -> str:
    """One line for each place that is wrong; the first of several complaints about one place."""
    found: dict[tuple[str | int, ...], str] = {}
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and details["input"]:
            continue  # the items are faulty, each with a line of its own
        *outer, last = details["loc"] or ("",)
        place = [key for key in outer if not _is_internal(key)]
        if details["type"] == "extra_forbidden" or not _is_internal(last):
            place.append(last)
        if tuple(place) not in found:
            found[tuple(place)] = _line(file, place, dict(details), known)
    return first_lines(found.values())


def _line(file: YamlFile, keys: Keys, details: dict[str, Any], known: Known) -> str:
    """One line for one complaint."""
    kind, found = details["type"], details["input"]
    where = file.where(keys)
    if kind == "extra_forbidden":
        allowed = _keys_at(keys[:-1], known)
        return f"{where}: unknown key; allowed are {', '.join(allowed)}{nearest(str(keys[-1]), allowed)}"
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "value_error":  # from our own checks, which say what was found
        return f"{where}: {details['ctx']['error']}"
    return f"{where}: found {quoted(found)}; allowed is {_ALLOWED.get(kind) or _allowed(details)}"


_ALLOWED = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_pattern_mismatch": "a name of letters, digits and . _ + -, which begins with a letter or digit",
    "too_short": "at least one",
}


def _allowed(details: dict[str, Any]) -> str:
    if details["type"] == "too_long":
        return f"at most {details['ctx']['max_length']:,} of them"
    return re.sub(r"^(Input|String) should (be|have) ", "", details["msg"])


def _is_internal(key: str | int) -> bool:
    """pydantic puts the names of validators and union members into its paths."""
    internal = ("bool", "str", "float", "constrained-float", "constrained-str")
    return isinstance(key, str) and ("[" in key or key in internal or "literal" in key)


def _keys_at(keys: Keys, known: Known) -> list[str]:
    """The keys that are known in the mapping at this place of a sweep file."""
    for key in reversed(keys):
        if key in known:
            return list(known[str(key)].model_fields)
    return list(known[""].model_fields)
