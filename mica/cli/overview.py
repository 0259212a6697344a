"""What a sweep consists of and how far it is, in the terminal or as JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mica.bench.forecast import Forecast
from mica.sweep.results import Results
from mica.sweep.store.records import Stored
from mica.training.state import Epoch
from mica.trial import Record, TrialSpec, run

_SHOWN_FAILURES = 5


def planned(results: Results, forecast: Forecast | None) -> dict[str, Any]:
    """Trials in all, done, failed and missing, and by method; with the hours to go if they are known."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for key, trial in results.trials.items():
        rows[_method(trial)][_state(results.stored.get(key))] += 1
    total = sum(rows.values(), Counter[str]())
    states = ("done", "failed", "missing")
    return {
        "name": results.name,
        "trials": total.total(),
        **{state: total[state] for state in states},
        "hours_to_go": forecast and forecast.hours,
        "hours_by": forecast and forecast.basis,
        "methods": {
            name: {"trials": counts.total(), **{state: counts[state] for state in states}}
            for name, counts in rows.items()
        },
    }


def plan_table(results: Results, forecast: Forecast | None) -> Table:
    """`planned` as a table."""
    plan = planned(results, forecast)
    caption = None
    if plan["missing"]:
        caption = (
            f"about {forecast.hours:,.1f} hours to go, one trial after another: by {forecast.basis}"
            if forecast
            else "how many hours? `mica-sweep bench` measures it for the paper's networks"
        )
    table = Table(title=f"{plan['name']}: {plan['trials']:,} trials", caption=caption, show_footer=True)
    table.add_column("method", footer="in all", overflow="fold")
    for state in ("trials", "done", "failed", "missing"):
        table.add_column(state, justify="right", footer=f"{plan[state]:,}")
    for name, counts in plan["methods"].items():
        table.add_row(name, *(f"{count:,}" for count in counts.values()))
    return table


def list_trials(results: Results) -> Iterator[str]:
    """A line a trial: key, state, what it is."""
    for key, trial in results.trials.items():
        yield f"{key}  {_state(results.stored.get(key)):7}  {trial}"


def status_of(results: Results) -> dict[str, Any]:
    """Outcomes counted, and every failure with the last line of its traceback."""
    stored = results.stored
    return {
        "name": results.name,
        "storage": results.store.folder.place,
        "trials": len(results.trials),
        "outcomes": dict(Counter(item.record.outcome for item in stored.values())),
        "missing": len(results.trials) - len(stored),
        "failures": {
            key: {"trial": str(item.record.spec), "error": _last_line(item.record.error)}
            for key, item in stored.items()
            if item.record.outcome == "failed"
        },
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
            f"{more}`mica-sweep trial KEY --from …` runs one here, `run --retry-failed` all of them",
            highlight=False,
            soft_wrap=True,
        )


def print_rerun(
    found: tuple[str, TrialSpec, Stored | None],
    console: Console,
    *,
    device: str | None = None,
    keep: Path | None = None,
) -> None:
    """Run a trial in this process, an epoch a line, and compare it with its record."""
    key, spec, stored = found
    console.print(f"{key}\n{spec}", highlight=False)
    if keep is not None:
        spec = spec.model_copy(update={"keep": "weights"})

    def on_epoch(epoch: Epoch) -> None:
        console.print(
            f"epoch {epoch.number}/{spec.protocol.epochs}: train loss {epoch.train.loss:.4f}, "
            f"val top-1 {epoch.val.top1:.2f} %, test top-1 {epoch.test.top1:.2f} % ({epoch.seconds:.1f} s)",
            highlight=False,
        )

    if stored is not None:  # sums over threads round differently
        torch.set_num_threads(stored.record.provenance.threads)
    record = run(spec, device=device, folder=keep, on_epoch=on_epoch)
    console.print(f"outcome: {record.outcome}", highlight=False)
    if stored is not None and stored.record.outcome != "failed":
        old = stored.record
        same = (_digest(record), record.results, record.epochs) == (_digest(old), old.results, old.epochs)
        where = f"run on {old.provenance.device} with {old.provenance.threads} threads"
        console.print(f"{'equal to' if same else 'differs from'} its record ({where})", highlight=False)


def _digest(record: Record) -> str | None:
    return record.mask.digest if record.mask else None


def _state(stored: Stored | None) -> str:
    if stored is None:
        return "missing"
    return "failed" if stored.record.outcome == "failed" else "done"


def _method(trial: TrialSpec) -> str:
    return f"{trial.method} (corrected)" if trial.budget == "corrected" else trial.method.name


def _last_line(error: str | None) -> str:
    return (error or "").strip().splitlines()[-1] if error else ""
