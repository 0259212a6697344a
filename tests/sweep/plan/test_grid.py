"""From axes to trials: inheritance, union without repeats, impossible combinations."""

from collections import Counter
from pathlib import Path

import pytest

from mica.errors import UserError
from mica.sweep.plan.grid import Grid, expand
from mica.sweep.plan.spec import load_sweep
from mica.sweep.sweep import open_sweep
from mica.trial import TrialSpec
from tests.sweep.sample import SWEEP, write

MAX, SYNFLOW = "mica(node_counts=max)", "synflow(iterations=3)"
SWEEPS = Path(__file__).parents[3] / "sweeps"


def grid(folder: Path, text: str = SWEEP, **lines: str) -> Grid:
    return expand(load_sweep(write(folder, text, **lines)))


def trials(folder: Path, text: str = SWEEP, **lines: str) -> list[TrialSpec]:
    return list(grid(folder, text, **lines).trials.values())


def fault(folder: Path, text: str = SWEEP, **lines: str) -> str:
    with pytest.raises(UserError) as error:
        open_sweep(write(folder, text, **lines))
    return str(error.value)


def cells(found: list[TrialSpec]) -> set[tuple[str, float, int]]:
    return {(trial.method.name, trial.log10_ratio, trial.seed) for trial in found}


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither CIFAR files nor a way to find any."""
    monkeypatch.setenv("MICA_DATA", str(tmp_path / "nothing"))


def test_the_paper_s_sweep_is_2604_trials_with_the_data_yet_to_come(no_data: None) -> None:
    found = list(expand(load_sweep(SWEEPS / "paper.yaml")).trials.values())
    methods = Counter((trial.method.name, trial.budget) for trial in found)
    names = ("erk", "igq", "snip", "grasp", "synflow")
    expected = {("dense", "nominal"): 12}
    expected |= {(f"{pruner}-{name}", "nominal"): 144 for pruner in ("rpi", "mica") for name in names}
    expected |= {(f"rbpi-{name}", "nominal"): 144 for name in names[2:]}
    expected |= {(f"mica-{name}", "corrected"): 144 for name in names}
    assert methods == expected
    assert len(found) == 2604 and len(expected) == 19


def test_the_paper_s_sweep_has_the_paper_s_axes_and_protocols(no_data: None) -> None:
    found = list(expand(load_sweep(SWEEPS / "paper.yaml")).trials.values())
    assert Counter(trial.data.name for trial in found) == {"cifar10": 1302, "cifar100": 1302}
    assert Counter(trial.model.name for trial in found) == {"vgg16": 1302, "resnet20": 1302}
    assert {trial.seed for trial in found} == {0, 1, 2}
    sparse = [trial for trial in found if trial.method.name != "dense"]
    assert {trial.log10_ratio for trial in sparse} == {n / 2 for n in range(1, 13)}
    lrs = {(trial.model.name, trial.protocol.lr, trial.protocol.weight_decay) for trial in found}
    assert lrs == {("vgg16", 0.1, 1e-4), ("resnet20", 0.01, 5e-4)}
    assert {trial.protocol.augment for trial in found} == {"crop-flip"}
    assert {trial.protocol.epochs for trial in found} == {160}


def test_every_sweep_of_the_repository_can_be_expanded(no_data: None) -> None:
    files = list(SWEEPS.glob("*.yaml"))
    assert {"paper.yaml", "quickstart.yaml"} <= {file.name for file in files}
    for spec in map(load_sweep, files):
        assert expand(spec).trials or spec.search


def test_the_axes_are_crossed(tmp_path: Path) -> None:
    expected = {(m, r, s) for m in ("rpi-erk", "mica-erk") for r in (0.60206, 3.0) for s in (0, 1)}
    found = trials(tmp_path)
    assert cells(found) == expected and len(found) == 8
    assert found[0].protocol.epochs == 2
    assert found[0].protocol.augment == "none"  # as its data set says
    assert found[0].protocol.lr == 0.1


def test_pruners_and_distributions_are_another_way_to_name_methods(tmp_path: Path) -> None:
    text = SWEEP.replace("methods: [rpi-erk, mica-erk]", "pruners: [random, mica]\ndistributions: erk")
    assert list(grid(tmp_path, text).trials) == list(grid(tmp_path).trials)


def test_the_dense_network_has_no_ratio(tmp_path: Path) -> None:
    found = trials(tmp_path, methods="[dense, rpi-erk]")
    assert [trial.log10_ratio for trial in found if trial.method.name == "dense"] == [0, 0]
    without = SWEEP.replace("ratios: [4, 1000]\n", "")
    assert cells(trials(tmp_path, without, methods="dense")) == {("dense", 0, 0), ("dense", 0, 1)}


GRIDS = """\
grids:
  - methods: dense
  - seeds: [5]
    ratios: 10
    protocol: {lr: 0.5}
  - pruners: mica
    distributions: [igq, snip]
    seeds: [1]
    ratios: 10
"""


def test_a_grid_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    found = trials(tmp_path, SWEEP + GRIDS)
    assert cells(found) == {
        ("dense", 0, 0), ("dense", 0, 1), ("rpi-erk", 1, 5), ("mica-erk", 1, 5), ("mica-igq", 1, 1),
        ("mica-snip", 1, 1),
    }  # fmt: skip
    for trial in found:
        assert trial.protocol.epochs == 2 and trial.protocol.batch_size == 16
        assert trial.protocol.lr == (0.5 if trial.seed == 5 else 0.1)


def test_a_grid_may_name_only_the_distribution_of_the_sweep_s_pruners(tmp_path: Path) -> None:
    text = SWEEP.replace("methods: [rpi-erk, mica-erk]", "pruners: [random, mica]")
    grids = "[{distributions: erk}, {distributions: [igq, snip], pruners: mica}, {methods: dense}]"
    found = trials(tmp_path, text, grids=grids, seeds="[0]", ratios="4")
    assert {trial.method.name for trial in found} == {"rpi-erk", "mica-erk", "mica-igq", "mica-snip", "dense"}


def test_the_union_of_grids_holds_each_trial_once(tmp_path: Path) -> None:
    grids = "[{}, {seeds: [1, 2]}, {methods: [mica-erk, mica-erk], ratios: [4, 10^0.60206]}]"
    found = grid(tmp_path, grids=grids).trials
    assert len(found) == 8 + 4
    assert set(found) >= set(grid(tmp_path).trials)


def test_budget_rounding_and_node_counts_are_axes_too(tmp_path: Path) -> None:
    axes = {"budget": "[nominal, corrected]", "rounding": "[floor, exact]"}
    found = trials(tmp_path, methods=f"[mica-erk, {MAX}-erk]", seeds="[0]", ratios="4", **axes)
    assert len({(t.budget, t.rounding, t.method.name) for t in found}) == len(found) == 8


def test_a_method_s_options_make_another_method_and_a_default_does_not(tmp_path: Path) -> None:
    pruners = "[random, mica, {name: mica, node_counts: max}, {name: mica, node_counts: random}]"
    axes = {"methods": "null", "pruners": pruners, "distributions": "[erk, {name: synflow, iterations: 3}]"}
    found = trials(tmp_path, seeds="[0]", ratios="4", **axes)
    names = [f"{pruner}-{shares}" for pruner in ("rpi", "mica", MAX) for shares in ("erk", SYNFLOW)]
    assert sorted(trial.method.name for trial in found) == sorted(names)
    assert len({trial.key for trial in found}) == 6
    in_short = trials(tmp_path, seeds="[0]", ratios="4", methods=f"[{', '.join(map(repr, names))}]")
    assert {trial.key for trial in in_short} == {trial.key for trial in found}


def test_scoring_options_are_those_of_the_pruner_that_scores(tmp_path: Path) -> None:
    found = trials(tmp_path, seeds="[0]", ratios="4", methods="[rbpi-snip, 'rbpi-snip(batch_norm=train)']")
    assert [trial.method.pruner.all_options for trial in found] == [
        {"batch_norm": "eval"}, {"batch_norm": "train"},
    ]  # fmt: skip


def test_what_the_sweep_keeps_every_trial_keeps(tmp_path: Path) -> None:
    assert {trial.keep for trial in trials(tmp_path, keep="weights")} == {"weights"}


@pytest.mark.parametrize(("lines", "message"), [
    ({"budget": "corrected"}, "corrected goes with the pruner mica, or your own that places edges, found "
     "'rpi-erk'"),
    ({"budget": "corrected", "methods": "null", "pruners": "{name: random, title: RPI}",
      "distributions": "erk"}, "corrected goes with the pruner mica"),
    ({"methods": "null", "pruners": "[random, snip]", "distributions": "global"},
     "pruner 'random' ranks nothing, so it has no 'global' distribution"),
    ({"methods": "null", "pruners": "snip", "distributions": "[erk, synflow]"},
     "pruner 'snip' cannot take its budget from the ranking of 'synflow'"),
    ({"pruners": "random"}, "has both methods and pruners × distributions"),
    ({"methods": "null", "pruners": "random"}, "methods (or pruners with distributions) is missing"),
    ({"methods": "null"}, "methods (or pruners with distributions) is missing"),
    ({"ratios": "null"}, "ratios is missing"),
    ({"seeds": "null"}, "seeds is missing"),
    ({"models": "null"}, "models is missing"),
    ({"data": "null"}, "data is missing"),
    ({"data": "[{name: synthetic, seed: 1, title: a}, {name: digits, title: a}]"},
     "data: two different ones have the title 'a'"),
    ({"models": "[{name: mlp, hidden: [3], title: a}, {name: mlp, hidden: [4], title: a}]"},
     "models: two different ones have the title 'a'"),
    ({"data": "{name: synthetic, classes: 1}"}, "synthetic: classes is 1; it must be at least 2"),
])  # fmt: skip
def test_a_sweep_that_cannot_be(tmp_path: Path, lines: dict[str, str], message: str) -> None:
    found = fault(tmp_path, **lines)
    assert message in found
    assert all(line.startswith(f"{tmp_path}/sweep.yaml: ") for line in found.splitlines())


def test_impossible_combinations_are_told_all_at_once_each_with_its_grid(tmp_path: Path) -> None:
    grids = ["{methods: [rpi-erk, dense], budget: corrected}", "{pruners: mica, distributions: global}"]
    lines = fault(tmp_path, grids=f"[{', '.join(grids)}]").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["grids.0", "grids.0", "grids.1"]
    assert all("impossible combination" in line for line in lines)
    assert "'rpi-erk'" in lines[0] and "'dense'" in lines[1] and "'global'" in lines[2]


def test_a_title_does_not_make_another_trial(tmp_path: Path) -> None:
    titled = grid(tmp_path, models="{name: mlp, hidden: [16, 16], title: small}")
    assert list(titled.trials) == list(grid(tmp_path).trials)
