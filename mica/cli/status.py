"""How far a sweep is, and why trials failed: in the terminal or as JSON."""

from collections import Counter
from typing import Any

from rich.console import Console

from mica.cli.at_work import at_work_text
from mica.cli.states import changed_json, changed_text
from mica.sweep.results import Results
from mica.sweep.store.driver import SignOfLife, at_work
from mica.trial.record import Record
from mica.wording import counted

_SHOWN_FAILURES = 5


def status_of(results: Results) -> dict[str, Any]:
    """Outcomes counted, and every failure with the last line of its traceback."""
    entries = results.entries
    return {
        "name": results.name,
        "storage": results.store.place.shown,
        "trials": results.total,
        "outcomes": dict(Counter(entry.outcome for entry in entries.values())),
        "missing": results.total - len(entries),
        "failures": {
            key: {"trial": str(stored.record.spec), "error": entry.reason, **_place_of(stored.record)}
            for key, entry in entries.items()
            if entry.outcome == "failed" and (stored := results.index.stored(key))
        },
        "drivers": [said.model_dump() for said in at_work(results.store.place)],
        **changed_json(results),
        "changed_trials": {key: list(names) for key, names in results.changed.items()},
    }


def _place_of(record: Record) -> dict[str, str | None]:
    """Where to read more."""
    return {"host": record.provenance.host, "log": record.provenance.log}


def print_status(results: Results, console: Console) -> None:
    """`status_of` for people."""
    status = status_of(results)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in status["outcomes"].items())
    counts = ", ".join(part for part in (outcomes, f"{status['missing']:,} missing") if part)
    console.print(f"{status['name']}: {counted(status['trials'], 'trial')}: {counts}", highlight=False)
    console.print(f"records in {status['storage']}", highlight=False, soft_wrap=True)
    for line in at_work_text(map(SignOfLife.model_validate, status["drivers"])):
        console.print(line, highlight=False, soft_wrap=True)
    failures = list(status["failures"].items())
    for key, failure in failures[:_SHOWN_FAILURES]:
        line = f"failed {key[:12]}  {failure['trial']}: {failure['error']}"
        console.print(line, style="red", markup=False, soft_wrap=True)
    if failures:
        rest = len(failures) - _SHOWN_FAILURES
        more = f"{rest} more failed; --json lists them. " if rest > 0 else ""
        console.print(
            f"{more}`mica-sweep trial KEY --from {results.opened}` runs one here, "
            f"`mica-sweep run {results.opened} --retry-failed` all of them",
            highlight=False,
            soft_wrap=True,
        )
    for line in changed_text(results):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
