"""Is what was accepted sane? Looked at again, by other means than those that accepted it."""

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any

import yaml

from mica.sweep.plan.grid import Grid
from mica.sweep.plan.spec import SweepSpec
from mica.trial import TrialSpec
from tests.fuzz.odd import PASSWORD

SECRET = re.compile(rf"://[^\s/@]*:[^\s/@]*{PASSWORD}[^\s/@]*@|[?&]token={PASSWORD}")
"""A password where it is one."""
AXES = {
    "data", "models", "methods", "pruners", "distributions", "ratios", "seeds", "budget", "rounding",
    "target", "wiring", "protocol",
}  # fmt: skip
KEYS = AXES | {"name", "storage", "grids", "search", "resources", "times", "mlflow", "compact", "keep"}
NUMBERS = {
    "lr": (0, 1e30), "lr_factor": (0, 10), "momentum": (0, 1), "weight_decay": (0, 1000), "cpu": (0.01,
    10_000),
    "checkpoint": (0, 1e7), "claim": (1, 1e7), "stall": (0, 1e7),
}  # fmt: skip
WHOLE = {
    "epochs": (0, 10**6), "batch_size": (1, 10**6), "train_size": (1, 10**9), "val_size": (1, 10**9),
    "test_size": (1, 10**9),
}  # fmt: skip
FLAGS = {"compact", "nesterov"}


def insane_words(content: bytes) -> Iterator[str]:
    """What no sweep file may say, by plain YAML's reading of it."""
    found = yaml.safe_load(content.decode("utf-8-sig"))
    if not isinstance(found, dict):
        yield "the file is no mapping"
        return
    yield from (f"unknown key {key!r}" for key in found if key not in KEYS)
    for where in (found, *(found.get("grids") or ())):
        yield from (
            f"unknown key {key!r} in a grid" for key in where if where is not found and key not in AXES
        )
        seeds = where.get("seeds")
        if seeds is not None and not all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds):
            yield f"seeds {seeds!r:.80}"
        for part in (where, *(where.get(key) or {} for key in ("protocol", "resources", "times"))):
            yield from _insane_values(part)


def _insane_values(part: dict[str, Any]) -> Iterator[str]:
    for key, value in part.items():
        low, high = {**NUMBERS, **WHOLE}.get(key, (0, 0))
        kinds = {bool} if key in FLAGS else {int} if key in WHOLE else {int, float}
        if key not in FLAGS | WHOLE.keys() | NUMBERS.keys() or (key in WHOLE and value is None):
            continue
        if isinstance(value, str) and re.fullmatch(r"[-+\d._]+[eE][-+]?\d+", value):
            value = float(value)  # YAML 1.1 takes 1e-4 for a text
        if type(value) not in kinds or (key not in FLAGS and not low <= value <= high):
            yield f"{key} is {value!r:.80}"


def insane_sweep(sweep: SweepSpec) -> Iterator[str]:
    """What is wrong with the name and the places."""
    letters = all(unicodedata.category(sign)[0] in "LMN" or sign in "_.+-" for sign in sweep.name)
    composed = unicodedata.normalize("NFC", sweep.name) == sweep.name
    if not letters or not composed or len(sweep.name) > 60 or sweep.name[0] in ".+-":
        yield f"the name {sweep.name!r}"
    for place in (sweep.storage, sweep.mlflow):
        if isinstance(place, str) and (not place.strip() or not place.isprintable() or SECRET.search(place)):
            yield f"the place {place!r}"


def insane_grid(grid: Grid) -> Iterator[str]:
    """What is wrong with the trials: the first hundred of them stand for all."""
    if not 1 <= len(grid.trials) <= 1_000_000:
        yield f"{len(grid.trials)} trials"
    for key, trial in islice(grid.trials.items(), 100):
        yield from (f"trial {trial!s:.200}: {problem}" for problem in _insane_trial(key, trial))


def _insane_trial(key: str, trial: TrialSpec) -> Iterator[str]:
    written = trial.model_dump_json()
    again = TrialSpec.model_validate_json(written)
    if again != trial or again.key != key:
        yield "its record is another trial"
    if SECRET.search(written):
        yield "its record holds a password"
    if not 0 <= trial.log10_ratio <= 30 or not math.isfinite(trial.ratio):
        yield f"its ratio is 10^{trial.log10_ratio}"
    if not all(math.isfinite(trial.protocol.lr_at(epoch)) for epoch in (0, trial.protocol.epochs)):
        yield "its learning rate is not finite"
    for part in (trial.data, trial.model, trial.method.pruner, trial.method.distribution):
        json.dumps(part.all_options, allow_nan=False)
        if any(sign in part.label for sign in "\0\n\x1b\x7f\u2028"):
            yield f"the label {part.label!r}"
