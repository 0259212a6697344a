"""What drivers note while they are being broken: a line a fact, in one file, for the verdict."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "MICA_CHAOS_DIARY"
"""Names the file, in a driver's environment."""


def note(what: str, **facts: Any) -> None:
    """Add a line; short enough to be written whole beside other processes' lines."""
    line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **facts})
    with open(os.environ[VARIABLE], "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def tell(path: Path, what: str, **facts: Any) -> None:
    """A line of the suite's own."""
    with open(path, "ab", buffering=0) as file:
        file.write(json.dumps({"what": what, "pid": 0, **facts}).encode() + b"\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All lines so far."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                yield json.loads(line)
