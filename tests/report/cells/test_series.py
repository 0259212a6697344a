"""Every method has a name and a look of its own, by which it is known in every figure."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pandas as pd
import pytest

from mica.report.cells import grouping
from mica.report.cells.grouping import by_series, cells, finished
from mica.report.cells.series import Series
from mica.training.protocol import Protocol
from mica.trial import TrialSpec

Make = Callable[..., dict[str, Any]]


def series(make: Make, *methods: str, **columns: Any) -> list[Series]:
    rows = finished(pd.DataFrame([make(method, 1, 0, 50.0, **columns) for method in methods]))
    found = {each.method: each for each, _ in by_series(cells(rows))}
    return [found[method] for method in methods]


@pytest.mark.parametrize(("method", "columns", "label", "name"), [
    ("mica-igq", {}, "MiCA-IGQ", "mica-igq"),
    ("rbpi-snip", {}, "RbPI-SNIP", "rbpi-snip"),
    ("mica-erk", {"budget": "corrected"}, "MiCA-ERK (corrected)", "mica-erk (corrected)"),
    ("mica(node_counts=max)-igq", {}, "MiCA-IGQ (node_counts=max)", "mica(node_counts=max)-igq"),
    ("mica(node_counts=max)-igq", {"pruner_title": "MiCA max"}, "MiCA max-IGQ", "MiCA max-IGQ"),
    ("mica(node_counts=max)-synflow(iterations=9)", {}, "MiCA-SynFlow (node_counts=max, iterations=9)",
     "mica(node_counts=max)-synflow(iterations=9)"),
    ("mica-synflow(iterations=9)", {"distribution_title": "SynFlow-9"}, "MiCA-SynFlow-9", "MiCA-SynFlow-9"),
    ("rbpi-synflow(iterations=9)", {}, "RbPI-SynFlow (iterations=9)", "rbpi-synflow(iterations=9)"),
    ("rbpi-synflow(iterations=9)", {"pruner_title": "Quick"}, "RbPI-Quick", "RbPI-Quick"),
    ("mica(node_counts=max)-erk", {"pruner_title": "M", "budget": "corrected"}, "M-ERK (corrected)",
     "M-ERK (corrected)"),
])  # fmt: skip
def test_what_a_method_is_called(
    make: Make, method: str, columns: dict[str, Any], label: str, name: str
) -> None:
    (found,) = series(make, method, **columns)
    assert (found.label, found.name) == (label, name)


@pytest.mark.parametrize(("method", "columns", "title"), [
    ("mica(node_counts=max)-igq", {}, "MiCA (node_counts=max)"),
    ("mica(node_counts=max)-igq", {"pruner_title": "MiCA max"}, "MiCA max"),
    ("mica-synflow(iterations=9)", {}, "MiCA (iterations=9)"),
    ("mica-synflow(iterations=9)", {"distribution_title": "SynFlow-9"}, "MiCA (SynFlow-9)"),
    ("rbpi-synflow(iterations=9)", {"pruner_title": "Quick"}, "RbPI (Quick)"),
    ("rbpi-synflow", {"pruner_title": "Flow"}, "RbPI"),
])  # fmt: skip
def test_what_its_family_is_called(make: Make, method: str, columns: dict[str, Any], title: str) -> None:
    (found,) = series(make, method, **columns)
    assert found.family_title == title


def test_options_give_a_line_and_a_marker_of_their_own_in_the_distribution_s_colour(make: Make) -> None:
    methods = [f"mica(node_counts={counts})-igq" for counts in ("max", "min")]
    methods += ["mica-igq", "rpi-igq", "mica-synflow", "rpi-synflow"]
    methods += [f"{pruner}-synflow(iterations={n})" for pruner in ("mica", "rpi") for n in (7, 8, 9)]
    found = series(make, *methods)
    for one, other in combinations(found, 2):
        if one.colour == other.colour:
            assert one.marker != other.marker or one.line != other.line, (one.name, other.name)
    assert {each.colour for each in found if each.distribution == "igq"} == {"#D55E00"}
    assert len({each.marker for each in found[:3]}) == 3


RULES, RANKINGS = ["erk", "igq"], ["snip", "grasp", "synflow"]
OURS, CORRECTED, RANDOM, RANKED = (
    ("mica", "nominal"), ("mica", "corrected"), ("rpi", "nominal"), ("rbpi", "nominal"),
)  # fmt: skip


@pytest.mark.parametrize(("distributions", "families"), [
    (RULES, (OURS, RANDOM)), (RANKINGS, (OURS, RANDOM)), (RANKINGS, (OURS, RANKED)),
    (RULES, (CORRECTED, RANDOM)), (RANKINGS, (CORRECTED, RANKED)),
])  # fmt: skip
def test_without_colours_too_no_two_methods_of_a_figure_look_alike(
    make: Make, distributions: list[str], families: tuple[tuple[str, str], ...]
) -> None:
    """Those that the paper's figures compare are told apart by their markers alone."""
    shown = [
        each
        for name in distributions
        for prefix, budget in families
        for each in series(make, f"{prefix}-{name}", budget=budget)
    ]
    assert len({each.marker for each in shown}) == len(shown)
    assert len({each.family_marker for each in shown}) == len({each.family for each in shown})


def test_a_method_looks_alike_wherever_it_occurs(make: Make) -> None:
    variants = [f"mica(node_counts={counts})-igq" for counts in ("max", "min")]
    rows = [make(variants[0], 1, 0, 50.0, model="a"), *(make(name, 1, 0, 50.0) for name in variants)]
    kept = finished(pd.DataFrame(rows))
    looks = {
        (series.marker, str(series.line))
        for _, part in kept.groupby("model")
        for series, _ in by_series(cells(part))
        if series.method == variants[0]
    }
    assert len(looks) == 1


def test_a_method_says_what_others_have_not(make: Make) -> None:
    rows = [
        make("mica-igq", 1, 0, 50.0, protocol_initial_weights="open", rounding="exact"),
        make("mica-erk", 1, 0, 50.0, protocol_initial_weights="drawn", rounding="exact"),
        make("random-erk", 1, 0, 50.0, protocol_initial_weights="drawn", rounding="exact"),
    ]

    def labels(rows: list[dict[str, object]]) -> set[str]:
        return {each.label for each, _ in by_series(cells(finished(pd.DataFrame(rows))))}

    assert labels(rows) == {"MiCA-IGQ (initial_weights open)", "MiCA-ERK", "RPI-ERK"}
    assert labels([rows[0]]) == {"MiCA-IGQ"}
    assert labels([*rows, {**rows[0], "protocol_initial_weights": "drawn"}]) == {
        "MiCA-IGQ (initial_weights open)", "MiCA-IGQ (initial_weights drawn)", "MiCA-ERK", "RPI-ERK",
    }  # fmt: skip


def test_what_goes_without_saying_is_what_mica_does_unasked() -> None:
    unasked = {name: TrialSpec.model_fields[name].default for name in ("rounding", "target", "wiring")}
    unasked["protocol_initial_weights"] = Protocol().initial_weights
    assert unasked == grouping._UNSAID


def test_two_methods_of_one_title_go_by_their_full_names(make: Make) -> None:
    variants = [f"mica(node_counts={counts})-igq" for counts in ("max", "min")]
    found = series(make, *variants, pruner_title="Ours")
    assert [each.label for each in found] == [each.name for each in found] == variants


def test_users_own_have_looks_too(make: Make) -> None:
    own = [{"method": f"a:{n}-b:{n}", "pruner": f"a:{n}", "distribution": f"b:{n}"} for n in ("p", "q")]
    rows = [make("mica-igq", 1, 0, 50.0) | columns for columns in own]
    one, other = (each for each, _ in by_series(cells(finished(pd.DataFrame(rows)))))
    assert (one.label, other.label) == ("p-p", "q-q")
    assert one.colour != other.colour and one.marker != other.marker and one.line != other.line
