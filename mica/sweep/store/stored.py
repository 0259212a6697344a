"""A record as the bytes of a file: with its checksum, so that what is torn or foreign is never half-read."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import from_json

from mica.sweep.store.layout import name_of
from mica.trial.record import RECORD_VERSION, Outcome, Record


class Unsound(Exception):
    """What stands in the place of a record is none."""


class Newer(Exception):
    """A sound record that a newer mica wrote."""

    def __init__(self, version: int, outcome: object) -> None:
        super().__init__(f"was written by a newer mica (version {version}, this one reads {RECORD_VERSION})")
        self.outcome: Outcome = "completed"
        """As it says itself, where that is an outcome we know."""
        for known in get_args(Outcome):
            self.outcome = known if known == outcome else self.outcome


@dataclass(frozen=True)
class Stored:
    """A record, and the sweep that it was first run for."""

    key: str
    sweep: str
    record: Record

    @property
    def name(self) -> str:
        """What it is stored under."""
        return name_of(self.key, self.record.spec.code)


def encode(stored: Stored) -> bytes:
    """A file's content; equal records give equal bytes."""
    body = {"key": stored.key, "sweep": stored.sweep, "record": stored.record.model_dump(mode="json")}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return json.dumps({"checksum": _checksum(text), "body": text}).encode()


def decode(content: bytes) -> Stored:
    """Raises `Unsound` for what is no record, and `Newer` for a record of a newer mica."""
    try:
        envelope = from_json(content)
        if envelope["checksum"] != _checksum(envelope["body"]):
            raise Unsound("its checksum is wrong")
        body = from_json(envelope["body"])
        version = body["record"]["version"]
        if version > RECORD_VERSION:
            raise Newer(version, body["record"].get("outcome"))
        return Stored(str(body["key"]), str(body["sweep"]), Record.model_validate(body["record"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unsound(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """What an exception says, in a line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


_ASIDE = {"provenance", "kept", "version"}
"""What may differ between two runs of one trial."""


def differences(one: Record, other: Record) -> list[str]:
    """The fields in which two records of one trial differ: `epochs.3.train_loss`; where they ran aside."""
    return _differing(_compared(one), _compared(other), "")


def _compared(record: Record) -> dict[str, Any]:
    fields = record.model_dump(mode="json", exclude=_ASIDE)
    fields["spec"] = record.spec.identity | {"code": record.spec.code}
    return fields


def _differing(one: Any, other: Any, path: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        parts = {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])}
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = {str(index): pair for index, pair in enumerate(zip(one, other, strict=True))}
    else:
        return [] if one == other else [path.removeprefix(".")]
    return [found for name, pair in parts.items() for found in _differing(*pair, f"{path}.{name}")]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
