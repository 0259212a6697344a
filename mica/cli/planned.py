"""What a sweep consists of, what it still takes and what is to be known of it: in the terminal or as JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from mica.bench.forecast import ROUGH, Forecast
from mica.cli.states import changed_json, changed_text, state
from mica.sweep.results import Results
from mica.training.protocol import Protocol
from mica.trial import TrialSpec
from mica.wording import counted

_STATES = ("done", "failed", "missing")


def planned(results: Results, forecast: Forecast | None) -> dict[str, Any]:
    """Trials in all, done, failed and missing, and by method; with the hours to go if they are known."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    variants = {} if results.rungs else _variants(results.trials.values())
    for key, trial in results.trials.items():
        row = f"{trial.protocol.epochs} epochs" if results.rungs else _method(trial) + variants[_ways(trial)]
        rows[row][state(results.entries.get(key))] += 1
    if results.to_come:
        rows["not known yet"]["missing"] += results.to_come
    total = sum(rows.values(), Counter[str]())
    return {
        "name": results.name,
        "trials": total.total(),
        **{name: total[name] for name in _STATES},
        **changed_json(results),
        "hours_to_go": forecast and forecast.hours,
        "hours_by": forecast and forecast.basis,
        "hours_of_arithmetic": forecast and forecast.arithmetic,
        "remarks": results.remarks,
        "methods": {
            method: {"trials": counts.total(), **{name: counts[name] for name in _STATES}}
            for method, counts in rows.items()
        },
    }


def print_plan(plan: dict[str, Any], results: Results, console: Console) -> None:
    """`planned` for people."""
    table = Table(title=f"{plan['name']}: {counted(plan['trials'], 'trial')}", show_footer=True)
    table.add_column("method", footer="in all", overflow="fold")
    for name in ("trials", *_STATES):
        table.add_column(name, justify="right", footer=f"{plan[name]:,}")
    for method, counts in plan["methods"].items():
        table.add_row(method, *(f"{count:,}" for count in counts.values()))
    console.print(table)
    if plan["missing"]:
        console.print(_hours(plan), highlight=False)
    for line in (*plan["remarks"], *changed_text(results)):
        console.print(f"note: {line}", style="yellow", highlight=False, soft_wrap=True)


def _hours(plan: dict[str, Any]) -> str:
    """`about 12.3 hours to go, one trial after another; rough: measured for 6 s just now on cpu`.

    Where a benchmark tells, also how much of that is arithmetic.
    """
    hours, basis = plan["hours_to_go"], plan["hours_by"]
    if not basis:
        return "how many hours? not measured; `mica-sweep bench` does it for the paper's networks"
    about = "less than a minute" if hours < 1 / 60 else f"about {60 * hours:.0f} minutes"
    if hours >= 1:
        about = f"about {hours:,.1f} hours"
    by = "; " if basis.startswith(ROUGH) else ": by "
    text = f"{about} to go, one trial after another{by}{basis}"
    if arithmetic := plan["hours_of_arithmetic"]:
        text += (
            f"\n{arithmetic / hours:.0%} of that is arithmetic at full speed, the rest launches and memory"
        )
    return text


def list_trials(results: Results) -> Iterator[str]:
    """A line a trial: key, state, what it is."""
    for key, trial in results.trials.items():
        word = "changed" if key in results.changed else state(results.entries.get(key))
        yield f"{key}  {word:7}  {trial}"


def _method(trial: TrialSpec) -> str:
    return f"{trial.method} (corrected)" if trial.budget == "corrected" else trial.method.name


_Ways = tuple[str, str, str, str, str, str, Protocol]


def _ways(trial: TrialSpec) -> _Ways:
    """A method on a network, and then what else may tell its trials apart, beside ratio and seed."""
    return (
        trial.data.label,
        trial.model.label,
        _method(trial),
        trial.rounding,
        trial.target,
        trial.wiring,
        trial.protocol,
    )


def _variants(trials: Iterable[TrialSpec]) -> dict[_Ways, str]:
    """What tells trials of one method on one network apart, in words: `, initial_weights normalised`."""
    groups: dict[tuple[str, ...], list[_Ways]] = defaultdict(list)
    for ways in {_ways(trial): None for trial in trials}:
        groups[ways[:3]].append(ways)
    found = {}
    for group in groups.values():
        fields = {ways: _fields(*ways[3:]) for ways in group}
        telling = [
            name for name in fields[group[0]] if len({str(each[name]) for each in fields.values()}) > 1
        ]
        for ways in group:
            found[ways] = "".join(f", {name} {fields[ways][name]}" for name in telling)
    return found


def _fields(rounding: str, target: str, wiring: str, protocol: Protocol) -> dict[str, object]:
    return {"rounding": rounding, "target": target, "wiring": wiring, **protocol.model_dump()}
