"""Which candidates a search tries, wave by wave."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mica.errors import UserError
from mica.pruning.methods import Method
from mica.sweep.plan.search import Search
from mica.sweep.plan.spec import load_sweep
from mica.sweep.plan.waves import Wave, waves
from mica.sweep.sweep import open_sweep
from tests.sweep.sample import write

SPACE = {"alpha": {"from": 0.0, "to": 2.0, "step": 0.05}, "node_counts": ["min", "max"]}


def search(**changes: Any) -> Search:
    fields = {"pruner": "mica", "distribution": "power", "space": SPACE, "wave": 4}
    rungs = [{"candidates": 20, "epochs": 1}, {"candidates": 3, "epochs": 5}]
    return Search(**{**fields, "rungs": rungs, **changes})


def course(of: Search, objective: Callable[[Method, int], float]) -> list[Wave]:
    """All waves of a search."""
    going, found = waves(of), []
    answers: Sequence[float] | None = None
    try:
        while True:
            wave = next(going) if answers is None else going.send(answers)
            found.append(wave)
            answers = [objective(method, wave.rung) for method in wave.methods]
    except StopIteration:
        return found


def near_one(method: Method, rung: int) -> float:
    """Best at alpha = 1 with few nodes."""
    bonus = method.pruner.all_options["node_counts"] == "min"
    return bonus - abs(method.distribution.all_options["alpha"] - 1)


def test_each_rung_has_its_candidates_and_the_best_of_the_one_before_go_on() -> None:
    found = course(search(), near_one)
    first = [method for wave in found if wave.rung == 0 for method in wave.methods]
    assert [len(wave.methods) for wave in found] == [4] * 5 + [3]
    best = sorted(dict.fromkeys(first), key=lambda method: -near_one(method, 0))
    assert list(found[-1].methods) == best[:3] and found[-1].rung == 1


def test_later_waves_are_nearer_to_what_was_good() -> None:
    found = course(search(rungs=[{"candidates": 60, "epochs": 1}], wave=10), near_one)
    means = [sum(near_one(each, 0) for each in wave.methods) / len(wave.methods) for wave in found]
    assert sum(means[3:]) / 3 > means[0] + 0.3


def test_the_same_results_give_the_same_candidates_and_others_give_others() -> None:
    one, again = (course(search(), near_one) for _ in range(2))
    assert one == again
    other = course(search(), lambda method, rung: -near_one(method, rung))
    assert other[:2] == one[:2] and other != one  # the first ten are drawn before anything is known
    assert course(search(draw=1), near_one)[0] != one[0]


def test_values_are_whole_steps_within_their_range_as_one_would_write_them() -> None:
    for wave in course(search(), near_one):
        for method in wave.methods:
            alpha = method.distribution.all_options["alpha"]
            assert 0 <= alpha <= 2 and alpha == round(alpha, 2)
            assert len(str(alpha)) <= 4 and round(alpha * 20, 9) == round(alpha * 20)


def test_a_whole_number_s_range_gives_whole_numbers() -> None:
    space = {"iterations": {"from": 2, "to": 9}}
    of = search(pruner="mica", distribution="synflow", space=space, rungs=[{"candidates": 8, "epochs": 1}])
    found = [
        m.distribution.all_options["iterations"] for wave in course(of, lambda *_: 0.0) for m in wave.methods
    ]
    assert all(type(value) is int and 2 <= value <= 9 for value in found) and len(set(found)) > 2


def test_a_candidate_drawn_twice_goes_on_once() -> None:
    of = search(space={"node_counts": ["min", "max"]}, rungs=[{"candidates": 8, "epochs": 1}] * 2)
    *_, last = course(of, lambda *_: 0.0)
    assert len(last.methods) == 2


SEARCH = """\
name: tiny
data: {name: synthetic, size: 8, channels: 1, classes: 4, train: 60, test: 20}
models: {name: mlp, hidden: [16, 16]}
seeds: [0, 1]
ratios: 4
protocol: {epochs: 9, batch_size: 16}
mlflow: false
search:
  pruner: mica
  distribution: power
  space: {alpha: {from: 0.5, to: 1.5}, beta: {from: -1.0, to: 1.0}}
  rungs: [{candidates: 4, epochs: 1}, {candidates: 2, epochs: 2}]
"""


def test_a_search_s_trials_have_the_sweep_s_seeds_and_the_rung_s_epochs(tmp_path: Path) -> None:
    opened = open_sweep(write(tmp_path, SEARCH, storage=str(tmp_path / "results")))
    found = list(opened.grid.trials.values())
    assert len(found) == 8 and opened.total == 12 and opened.to_come == 4
    assert {spec.seed for spec in found} == {0, 1}
    assert {(spec.protocol.epochs, spec.protocol.batch_size) for spec in found} == {(1, 16)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "space: {alpa: {from: 0, to: 1}}",
            "option 'alpa'; allowed are node_counts, focus, fan_in, spread, distinct,",
        ),
        ("space: {alpha: {from: 1, to: 0}}", "found 1 to 0; a range rises"),
        ("space: {alpha: {from: 0, to: 1, step: 0.3}}", "found 0 to 1 by 0.3; a range is a whole number of"),
        ("space: {alpha: []}", "search.space.alpha: found []; allowed is"),
        ("space: {alpha: {from: 0, to: 99}}", "'power': alpha is 99; allowed is less than or equal"),
        ("space: {node_counts: [min, mox]}", "node_counts is 'mox'"),
        ("rungs: [{candidates: 2, epochs: 1}, {candidates: 4, epochs: 2}]", "4 candidates cannot be"),
        ("rungs: [{candidates: 2, epoch: 1}]", "unknown key; allowed are candidates, epochs; did you mean"),
        ("pruner: micka", "unknown pruner 'micka'"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused_with_its_line(tmp_path: Path, change: str, said: str) -> None:
    key = change.partition(":")[0]
    lines = [f"  {change}" if line.strip().startswith(f"{key}:") else line for line in SEARCH.splitlines()]
    with pytest.raises(UserError) as caught:
        load_sweep(write(tmp_path, "\n".join(lines)))
    assert said in str(caught.value) and "sweep.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"ratios": "[4, 8]"}, "search: ratios has 2 values"),
        ({"methods": "mica-erk"}, "there is no methods beside it"),
        ({"seeds": None}, "seeds is missing"),
    ],
)
def test_what_does_not_go_with_a_search_is_said(tmp_path: Path, lines: dict[str, Any], said: str) -> None:
    lines = {key: "null" if value is None else value for key, value in lines.items()}
    with pytest.raises(UserError, match=said):
        open_sweep(write(tmp_path, SEARCH, **lines))
