"""How far single trials are, in words."""

from typing import Any

from mica.sweep.results import Results
from mica.sweep.store.index import Entry
from mica.wording import counted


def state(entry: Entry | None) -> str:
    """done, failed or missing."""
    if entry is None:
        return "missing"
    return "failed" if entry.outcome == "failed" else "done"


def changed_json(results: Results) -> dict[str, Any]:
    """How many results other code of the user's made than is there now, and of which functions."""
    names = sorted({name for names in results.changed.values() for name in names})
    return {"changed": len(results.changed), "changed_code": names}


def changed_text(results: Results) -> list[str]:
    """The same in a line; none where there is nothing to say."""
    found = changed_json(results)
    count = found["changed"]
    if not count:
        return []
    trials = f"{counted(count, 'trial')} {'was' if count == 1 else 'were'}"
    names = ", ".join(found["changed_code"])
    again = "runs it again" if count == 1 else "runs them again"
    return [
        f"{trials} made by other code of {names} than is there now; "
        f"`mica-sweep run {results.opened} --retry-changed` {again}"
    ]
