"""A trial's key: what makes two trials the same trial."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PROTOCOL_VERSION = 5
"""Raised whenever the same spec would give other numbers than before: the key then changes with it."""


def key_of(fields: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of a canonical form.

    Every default is filled in before, so changing one changes keys instead of reusing them silently.
    """
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def canonical(fields: Mapping[str, Any]) -> str:
    """The text that is hashed: JSON with sorted keys and no spaces."""
    return json.dumps({"protocol_version": PROTOCOL_VERSION, **fields}, sort_keys=True, separators=(",", ":"))
