"""Which of two trials takes longer."""

import pytest

from mica.data import DataSource
from mica.sweep.plan.cost import estimated_cost, longest_first, training_images
from mica.trial import TrialSpec, open_data
from tests.trial.sample import DATA, tiny

VGG, RESNET = "vgg16", "resnet20"
MASK = {"protocol": {"epochs": 0}}
LONG = {"protocol": {"epochs": 50}}


def cost(spec: TrialSpec) -> float:
    return estimated_cost(spec, training_images(spec, open_data(spec.data)))


@pytest.mark.parametrize(("longer", "shorter"), [
    ({"method": "dense", "log10_ratio": 0, **LONG}, {"log10_ratio": 1, **LONG}),
    ({"log10_ratio": 1}, {"log10_ratio": 4}),
    ({"protocol": {"epochs": 20}}, {"protocol": {"epochs": 10}}),
    ({"protocol": {"epochs": 20}}, {"protocol": {"epochs": 20, "train_size": 30}}),
    ({"model": VGG}, {"model": RESNET}),
    ({"data": {**DATA, "train": 90}}, {}),
    ({"method": "rpi-synflow", **MASK}, {"method": "rpi-erk", **MASK}),
    ({"method": "rpi-synflow", **MASK}, {"method": "rpi-grasp", **MASK}),
    ({"method": "rbpi-grasp", **MASK}, {"method": "mica-erk", **MASK}),
    ({"method": "mica-erk", **MASK}, {"method": "rpi-erk", **MASK}),
    ({"model": VGG, "protocol": {"epochs": 1}}, {"model": VGG, **MASK}),
])  # fmt: skip
def test_the_longer_one_costs_more(longer: dict, shorter: dict) -> None:
    assert cost(tiny(**longer)) > cost(tiny(**shorter)) > 0


def test_the_longest_is_first_and_equal_ones_stay_in_order() -> None:
    ratios = {"a": 3.0, "b": 1.0, "c": 1.0, "d": 2.0}
    trials = {key: tiny(log10_ratio=ratio) for key, ratio in ratios.items()}
    assert list(longest_first(trials, {})) == ["b", "c", "d", "a"]


def test_of_two_data_sets_the_larger_takes_longer() -> None:
    small, large = tiny(), tiny(data={**DATA, "train": 90, "title": "large"})
    sources = {spec.data.label: open_data(spec.data) for spec in (small, large)}
    assert list(longest_first({"a": small, "b": large}, sources)) == ["b", "a"]


def test_an_epoch_trains_on_all_but_the_validation_images() -> None:
    source = open_data(tiny().data)
    assert training_images(tiny(), source) == 48
    assert training_images(tiny(protocol={"val_size": 20}), source) == 40
    assert training_images(tiny(protocol={"train_size": 7}), source) == 7
    unsaid = DataSource(name="x", digest="d", description="", augment="none", load=source.load)
    assert training_images(tiny(), unsaid) == training_images(tiny(), None) > 0
