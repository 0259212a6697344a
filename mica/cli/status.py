"""How far a sweep is, and why trials failed: in the terminal or as JSON."""

from collections import Counter
from typing import Any

from rich.console import Console

from mica.cli.states import changed_json, changed_text
from mica.sweep.results import Results
from mica.wording import shown

_SHOWN_FAILURES = 5


def status_of(results: Results) -> dict[str, Any]:
    """Outcomes counted, and every failure with the last line of its traceback."""
    stored = results.stored
    return {
        "name": results.name,
        "storage": shown(results.store.folder.place),
        "trials": len(results.trials),
        "outcomes": dict(Counter(item.record.outcome for item in stored.values())),
        "missing": len(results.trials) - len(stored),
        "failures": {
            key: {"trial": str(item.record.spec), "error": item.record.reason}
            for key, item in stored.items()
            if item.record.outcome == "failed"
        },
        **changed_json(results),
        "changed_trials": {key: list(names) for key, names in results.changed.items()},
    }


def print_status(results: Results, console: Console) -> None:
    """`status_of` for people."""
    status = status_of(results)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in status["outcomes"].items())
    counts = ", ".join(part for part in (outcomes, f"{status['missing']:,} missing") if part)
    console.print(f"{status['name']}: {status['trials']:,} trials: {counts}", highlight=False)
    console.print(f"records in {status['storage']}", highlight=False, soft_wrap=True)
    failures = list(status["failures"].items())
    for key, failure in failures[:_SHOWN_FAILURES]:
        line = f"failed {key[:12]}  {failure['trial']}: {failure['error']}"
        console.print(line, style="red", markup=False, soft_wrap=True)
    if failures:
        rest = len(failures) - _SHOWN_FAILURES
        more = f"{rest} more failed; --json lists them. " if rest > 0 else ""
        console.print(
            f"{more}`mica-sweep trial KEY --from {results.place}` runs one here, "
            f"`mica-sweep run {results.place} --retry-failed` all of them",
            highlight=False,
            soft_wrap=True,
        )
    for line in changed_text(results):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
