"""Which of two trials takes longer."""

import pytest

from mica.sweep.plan.cost import estimated_cost, longest_first
from tests.trial.sample import tiny

VGG, RESNET = "vgg16", "resnet20"
MASK = {"protocol": {"epochs": 0}}


@pytest.mark.parametrize(("longer", "shorter"), [
    ({"method": "dense", "log10_ratio": 0}, {"log10_ratio": 1}),
    ({"log10_ratio": 1}, {"log10_ratio": 4}),
    ({"protocol": {"epochs": 20}}, {"protocol": {"epochs": 10}}),
    ({"protocol": {"epochs": 20}}, {"protocol": {"epochs": 20, "train_size": 100}}),
    ({"model": VGG}, {"model": RESNET}),
    ({"data": "cifar10"}, {}),
    ({"method": "rpi-synflow", **MASK}, {"method": "rpi-grasp", **MASK}),
    ({"method": "rbpi-grasp", **MASK}, {"method": "mica-erk", **MASK}),
    ({"method": "mica-erk", **MASK}, {"method": "rpi-erk", **MASK}),
    ({"model": VGG, "protocol": {"epochs": 1}}, {"model": VGG, **MASK}),
])  # fmt: skip
def test_the_longer_one_costs_more(longer: dict, shorter: dict) -> None:
    assert estimated_cost(tiny(**longer)) > estimated_cost(tiny(**shorter)) > 0


def test_the_longest_is_first_and_equal_ones_stay_in_order() -> None:
    ratios = {"a": 3.0, "b": 1.0, "c": 1.0, "d": 2.0}
    trials = {key: tiny(log10_ratio=ratio) for key, ratio in ratios.items()}
    assert list(longest_first(trials)) == ["b", "c", "d", "a"]
