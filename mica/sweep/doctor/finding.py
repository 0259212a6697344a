"""What a doctor finds: a line each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    """`bad`: the sweep would fail, lose time, or stand open to strangers; `note`: it runs all the same."""
    what: str
    """What was looked at, in a word."""
    said: str
    """How it stands."""
    remedy: str = ""
    """How to mend it."""

    def __str__(self) -> str:
        return f"{self.what}: {self.said}{f'; {self.remedy}' if self.remedy else ''}"


def good(what: str, said: str) -> Finding:
    """All is well."""
    return Finding("good", what, said)


def note(what: str, said: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding("note", what, said, remedy)


def bad(what: str, said: str, remedy: str) -> Finding:
    """To be mended first."""
    return Finding("bad", what, said, remedy)


def named(hosts: Iterable[str]) -> str:
    """`n1, n2`."""
    return ", ".join(sorted(hosts))


def by_value(of: Mapping[str, str], *, but: str) -> dict[str, list[str]]:
    """Value → the hosts that have it, the most frequent value first; one value is left out."""
    found: dict[str, list[str]] = {}
    for host, value in of.items():
        if value != but:
            found.setdefault(value, []).append(host)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
