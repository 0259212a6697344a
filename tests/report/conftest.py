"""Small tables of trials, written out by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pytest

from mica.named import Named
from mica.pruning.methods import parse_method

Rows = Iterable[dict[str, Any]]


def trial(method: str, log10_ratio: float, seed: int, top1: float | None, **columns: Any) -> dict[str, Any]:
    """One row of `trials`; without an accuracy it collapsed."""
    parsed = parse_method(method)
    placed = round(10_000 / 10**log10_ratio)
    alive = top1 is not None
    return {
        "trial_key": f"{method} {log10_ratio} {seed}", "sweep": "s", "dataset": "digits", "model": "mlp",
        "method": parsed.name, "pruner": parsed.pruner.name, "distribution": parsed.distribution.name,
        "pruner_options": _options(parsed.pruner), "distribution_options": _options(parsed.distribution),
        "pruner_title": None, "distribution_title": None, "budget": "nominal",
        "rounding": "floor", "target": "nominal", "log10_ratio": log10_ratio, "seed": seed,
        "outcome": "completed" if alive else "collapsed", "edges_total": 10_000, "edges_placed": placed,
        "edges_functional": placed if alive else 0,
        "corrected_ratio": 10.0**log10_ratio if alive else None,
        "functional_node_share": 0.5 if alive else 0.0, "classes": 10, "epochs": 3 if alive else 0,
        "test_top1": top1, "test_top1_max": top1 + 1 if alive else None, "protocol_lr": 0.1,
    } | columns  # fmt: skip


def _options(part: Named) -> str:
    return ", ".join(f"{name}={value}" for name, value in part.written.items())


@pytest.fixture
def make() -> Callable[..., dict[str, Any]]:
    return trial


@pytest.fixture
def trials() -> pd.DataFrame:
    """Two methods and dense, two ratios, two seeds; rpi-erk loses one seed of two, then both."""
    rows: Rows = [
        trial("dense", 0, 0, 97.0), trial("dense", 0, 1, 98.0),
        trial("mica-erk", 1, 0, 90.0), trial("mica-erk", 1, 1, 92.0),
        trial("mica-erk", 2, 0, 70.0), trial("mica-erk", 2, 1, 71.0),
        trial("rpi-erk", 1, 0, 60.0), trial("rpi-erk", 1, 1, None),
        trial("rpi-erk", 2, 0, None), trial("rpi-erk", 2, 1, None),
    ]  # fmt: skip
    return pd.DataFrame(rows)
