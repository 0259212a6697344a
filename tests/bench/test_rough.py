"""Hours of trials that nobody has timed: a few are tried, the cost model tells the rest by them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mica.bench.rough as rough_module
from mica.bench.forecast import ROUGH, Forecast, forecast
from mica.bench.rough import Rough, measure_roughly
from mica.bench.sample import Sample, Try, sample
from mica.sweep.plan.spec import Resources
from mica.trial import TrialSpec, open_data
from tests.bench.test_forecast import results
from tests.sweep import user_models
from tests.trial.sample import DATA, tiny

SOURCES = {tiny().data.label: open_data(tiny().data)}


def told(*trials: TrialSpec) -> tuple[Forecast | None, list[str]]:
    """The hours of these trials, and what was said to be tried."""
    heard: list[str] = []
    found = forecast(results({spec.key: spec for spec in trials}, None, SOURCES), None, announce=heard.append)
    return found, heard


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rough_module, "_SECONDS", 0.3)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[Try]:
    """Instead of being tried, trials take a second to prepare and a tenth of one an image at ratio 1.

    An image takes a hundredth of that at 10^2; the method and the network make no difference.
    """
    tried: list[Try] = []

    def pretend(trial: Try, device: str, seconds: float) -> Sample:
        tried.append(trial)
        ratio = trial.spec.log10_ratio
        return Sample(ratio, 1.0, 0.1 * 10**-ratio if trial.trains else None)

    monkeypatch.setattr(rough_module, "sample", pretend)
    return tried


def seconds(spec: TrialSpec, rough: Rough | None) -> float:
    assert rough
    return rough.trial(spec, SOURCES[spec.data.label])


def measured(*trials: TrialSpec) -> Rough:
    found = measure_roughly(trials, SOURCES, Resources(), lambda what: None)
    assert found
    return found


def test_a_users_own_network_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    user_models.write(tmp_path, "rough_models")
    trials = [tiny(model="rough_models:sound", log10_ratio=ratio) for ratio in (0.5, 1.0)]
    found, heard = told(*trials)
    assert found and 0 < found.hours < 0.1
    assert found.basis.startswith(f"{ROUGH}: measured for ") and "s just now on " in found.basis
    assert f"rough_models:sound on {trials[0].data.label}" in heard


def test_a_convolutional_network_takes_longer_for_more_epochs(quick: None) -> None:
    short, long, dense = (
        tiny(model="resnet20", method=method, log10_ratio=ratio, protocol={"epochs": epochs})
        for method, ratio, epochs in (("mica-igq", 1.0, 2), ("mica-igq", 1.0, 20), ("dense", 0.0, 20))
    )
    found = measured(short, long, dense)
    assert 0 < seconds(short, found) < seconds(long, found)
    assert seconds(dense, found) > 0
    assert found.seconds > 0.3


def test_masks_alone_are_timed_without_training(quick: None) -> None:
    masks = [tiny(method=f"{pruner}-erk", protocol={"epochs": 0}) for pruner in ("rpi", "mica")]
    found, _ = told(*masks)
    assert found and 0 < found.hours * 3600 < 10
    assert not measured(*masks).pace


def test_everything_collapsed_is_still_a_figure(quick: None) -> None:
    found, _ = told(tiny(log10_ratio=6.0), tiny(method="rbpi-snip", log10_ratio=6.0))
    assert found and found.hours > 0


def test_nothing_is_tried_where_nothing_is_missing_or_nobody_asks(made_up: list[Try]) -> None:
    assert told() == (None, [])
    assert forecast(results({"a": tiny()}, None, SOURCES), None) is None
    assert not made_up


def test_a_trial_is_preparing_and_training_and_scoring(made_up: list[Try]) -> None:
    ends = [tiny(method=m, log10_ratio=r) for m, r in (("dense", 0.0), ("mica-erk", 2.0), ("rbpi-snip", 2.0))]
    found = measured(*ends)
    dense, sparse, scored = (seconds(spec, found) for spec in ends)
    epochs_of_images = 3 * 48
    assert dense == pytest.approx(1 + epochs_of_images * 0.1)
    assert sparse == pytest.approx(1 + epochs_of_images * 0.001)
    assert scored == pytest.approx(sparse + 100 * 0.1)  # as long as a hundred dense images, says SNIP
    between = tiny(log10_ratio=1.0)
    assert seconds(between, found) == pytest.approx(1 + epochs_of_images * 0.01)
    beyond = tiny(log10_ratio=4.0)  # from there on with the root of the ratio
    assert seconds(beyond, found) == pytest.approx(1 + epochs_of_images * 0.0001)


def test_few_trials_are_tried_and_those_that_need_no_scores(made_up: list[Try]) -> None:
    trials = [
        tiny(method=method, log10_ratio=ratio, seed=seed)
        for method in ("rbpi-snip", "mica-erk", "rbpi-synflow")
        for ratio in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
        for seed in range(5)
    ]
    measured(*trials)
    _, *tried = made_up  # the first one is for loading modules
    assert len(tried) == 3 and {each.spec.method.name for each in tried} == {"mica-erk"}
    ratios = [each.spec.log10_ratio for each in tried]
    assert min(ratios) <= 1.0 and max(ratios) == 3.0


@pytest.fixture
def only_mlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of two networks the convolutional one cannot be tried."""

    def refuse(trial: Try, device: str, seconds: float) -> Sample:
        if trial.spec.model.name != "mlp":
            raise RuntimeError("not here")
        return sample(trial, device, seconds)

    monkeypatch.setattr(rough_module, "sample", refuse)
    yield


def test_what_could_not_be_tried_goes_by_the_cost_model(only_mlp: None, quick: None) -> None:
    fields: dict[str, Any] = {"method": "rpi-igq", "log10_ratio": 0.5, "protocol": {"epochs": 50}}
    small, large = tiny(**fields), tiny(model="resnet20", **fields)
    found = measured(small, large)
    assert seconds(large, found) > seconds(small, found) > 0
    assert told(large)[0] is None  # nothing to go by at all


def test_when_the_seconds_are_over_the_rest_goes_by_the_cost_model(
    monkeypatch: pytest.MonkeyPatch, made_up: list[Try]
) -> None:
    monkeypatch.setattr(rough_module, "_SECONDS", 1e-9)
    other = tiny(model="resnet20", data={**DATA, "title": "other"})
    sources = {**SOURCES, "other": open_data(other.data)}
    found = measure_roughly([tiny(), other], sources, Resources(), lambda what: None)
    assert found and len(made_up) == 2  # the first one is for loading modules
    assert found.trial(tiny(), None) > 0 and found.trial(other, None) > 0
