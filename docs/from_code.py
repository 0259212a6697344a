"""What the documentation takes from the code: a line `% from code: NAME` in a page becomes that table."""

import inspect
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import collapse
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from statements import rows

from mica.cli.main import main
from mica.data import datasets
from mica.models import models
from mica.pruners import pruners
from mica.pruning.distributions import distributions
from mica.registry import Registry
from mica.report.report import print_table
from mica.report.tables.against import compared
from mica.report.tables.paired import Difference, holm, paired
from mica.sweep.plan.search import Rung, Search
from mica.sweep.plan.spec import Axes, Resources, SweepSpec, Times, load_sweep
from mica.sweep.results import open_records
from mica.sweep.store.columns import EPOCHS, LAYERS, TRIALS
from mica.sweep.store.tables import trials_table
from mica.training.protocol import Protocol

_BEYOND = Path(__file__).parent / "beyond"
_SWEEPS = Path(__file__).parents[1] / "sweeps"
_JUDGED = (
    "judgement", "judgement-4.5-staged", "judgement-5", "judgement-5-weights", "judgement-5-staged",
    "judgement-5-again", "judgement-5.5", "judgement-5.5-parting",
)  # fmt: skip
_OPPONENTS = ("rbpi-synflow", "mica-igq", "mica-synflow")
_BEST = 5
"""Candidates of a rung that are shown."""
_CHANCE = 10.5
"""Test top-1, percent: a training that ends below has learnt nothing of CIFAR-10's ten classes."""
_LINE = re.compile(r"^% from code: ([\w.-]+)$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = _LINE.sub(lambda found: PARTS[found[1]](), source[0])


def _keys(model: type[BaseModel], without: Iterable[str] = ()) -> str:
    rows = [
        (f"`{name}`", field.description or "", _default(field))
        for name, field in model.model_fields.items()
        if name not in without
    ]
    if not any(default for *_, default in rows):
        return _table(("key", "meaning"), [row[:2] for row in rows])
    return _table(("key", "meaning", "by default"), rows)


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    shown = list(value) if isinstance(value, tuple) else value
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


def _columns(schema: pa.Schema) -> str:
    rows = [(f"`{field.name}`", str(field.type), _said(field)) for field in schema]
    return _table(("column", "type", "meaning"), rows)


def _said(field: pa.Field) -> str:
    return (field.metadata or {}).get(b"description", b"").decode()


def _registered(registry: Registry[Any]) -> str:
    """Names, what they are and their options, as their functions say."""
    rows = []
    for name in registry.names():
        entry = registry.get(name)
        functions = [getattr(entry, part, None) for part in ("score", "place", "build")]
        said = inspect.getdoc(next(filter(None, functions), entry)) or ""
        options = registry.options(name).defaults.items()
        rows.append(
            (
                f"`{name}`",
                said.partition("\n\n")[0].replace("\n", " "),
                ", ".join(_option(*each) for each in options),
            )
        )
    return _table(("name", "what it is", "options"), rows)


def _option(name: str, default: Any) -> str:
    return f"`{name}`" if default is inspect.Parameter.empty else f"`{name}={default}`"


def _commands() -> str:
    parts = []
    context = click.Context(main, info_name="mica-sweep")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context))
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _reproduction() -> str:
    """What our records say, beside the published numbers."""
    place = Path(__file__).parent / "reproduction"
    printed = io.StringIO()
    with redirect_stdout(printed):
        print_table(open_records(place), "markdown", published=str(place / "published.csv"))
    return printed.getvalue()


def _study(name: str) -> str:
    """A sweep's trainings, as `mica-sweep report` shows them."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        print_table(open_records(_BEYOND / name), "markdown")
    return printed.getvalue()


def _search(name: str) -> str:
    """The best candidates of each rung of a search, by mean validation accuracy over all of its seeds."""
    trials = trials_of(_BEYOND / name).fillna({"val_top1": 0.0})  # as the search counts what has none
    found = trials.groupby(["protocol_epochs", "method"])["val_top1"].agg(["mean", "min", "max", "size"])
    lines = []
    for epochs, rung in sorted(found.groupby("protocol_epochs"), reverse=True):
        whole = rung[rung["size"] == trials["seed"].nunique()]
        for (_, method), values in whole.nlargest(_BEST, "mean").iterrows():
            shown = (f"{values[each]:.1f}" for each in ("mean", "min", "max"))
            lines.append((f"{epochs}", f"`{method}`", *shown))
    return _table(("epochs", "candidate", "mean", "lowest", "highest"), lines)


def _judgement() -> str:
    """Candidates against each of the others, paired by seed; p by Holm over all of which there are pairs."""
    lines: list[tuple[str, ...]] = []
    found: list[Difference | None] = []
    for name in _JUDGED:
        seeds = len(load_sweep(_SWEEPS / f"{name}.yaml").seeds)
        trials = compared(trials_of(_BEYOND / name), "last")
        accuracy = trials.pivot(index="seed", columns="method", values="value")
        candidate = next(iter(accuracy.columns.difference(_OPPONENTS)), "")
        for other in _OPPONENTS:
            pairs = accuracy.reindex(columns=[candidate, other]).dropna()
            shown, difference = ["–"] * 3, None
            if len(pairs) > 1:
                dead = (str((pairs[each] < _CHANCE).sum()) for each in pairs)
                shown = [*(f"{pairs[each].mean():.2f}" for each in pairs), " and ".join(dead)]
                difference = paired(pairs[candidate].tolist(), pairs[other].tolist())
            lines.append((f"`{name}`", f"`{other}`", f"{len(pairs)} of {seeds}", *shown))
            found.append(difference)
    rows = [
        (*line, *(_difference(each, p) if each else ["–"] * 3))
        for line, each, p in zip(lines, found, holm([each and each.p for each in found]), strict=True)
    ]
    head = (
        "sweep",
        "against",
        "seeds",
        "candidate's, %",
        "its, %",
        "at chance",
        "difference",
        "95 % interval",
        "p",
    )
    return _table(head, rows)


def _difference(found: Difference, p: float | None) -> list[str]:
    return [f"{found.mean:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}", f"{p:.1g}"]


def _collapse_errors() -> str:
    head = ("method", "shortcuts", "cells", "apart on average", "95 % of them below", "at most")
    return _table(head, collapse.error_rows())


def _collapse_half() -> str:
    """The ratios at which half of the edges function, a column a width."""
    widths = (f"width {width}" for width in collapse.WIDTHS)
    return _table(("shortcuts", "method", "depth", *widths), collapse.half_rows())


def trials_of(place: Path) -> pd.DataFrame:
    """The table of a folder's records."""
    results = open_records(place)
    return trials_table(results.store, results.trials).to_pandas()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    "axes": lambda: _keys(Axes),
    "sweep": lambda: _keys(SweepSpec, without=[*Axes.model_fields, "resources", "times", "search"]),
    "search": lambda: _keys(Search),
    "rungs": lambda: _keys(Rung),
    "resources": lambda: _keys(Resources),
    "times": lambda: _keys(Times),
    "protocol": lambda: _keys(Protocol),
    "trials": lambda: _columns(TRIALS),
    "layers": lambda: _columns(LAYERS),
    "epochs": lambda: _columns(EPOCHS),
    "pruners": lambda: _registered(pruners),
    "distributions": lambda: _registered(distributions),
    "models": lambda: _registered(models),
    "datasets": lambda: _registered(datasets),
    "commands": _commands,
    "reproduction": _reproduction,
    "study": lambda: _study("study"),
    "study-5": lambda: _study("study-5"),
    "long-5": lambda: _study("long-5"),
    "long-4.5": lambda: _study("long-4.5"),
    "study-5.5": lambda: _study("study-5.5"),
    "long-5.5": lambda: _study("long-5.5"),
    "search-4.5": lambda: _search("search-4.5"),
    "search-5": lambda: _search("search-5"),
    "judgement": _judgement,
    "collapse-errors": _collapse_errors,
    "collapse-half": _collapse_half,
    "masks": lambda: _table(("section", "the paper", "here", "agrees"), rows()),
}
"""Name → what it becomes."""
