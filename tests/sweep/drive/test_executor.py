"""What a trial asks of a machine, and which trials are alike there."""

import pytest

from mica.sweep.drive.executor import need_among, one_of_each_kind, shares_of
from mica.sweep.plan.spec import Resources
from tests.trial.sample import tiny

TRAINS, MASK = tiny(), tiny(protocol={"epochs": 0})


@pytest.mark.parametrize(("trials", "gpus", "share"), [
    ([TRAINS], 8.0, 1.0), ([MASK, TRAINS], 1.0, 1.0), ([TRAINS], 0.0, 0.0), ([MASK, MASK], 8.0, 0.0),
])  # fmt: skip
def test_by_default_only_sweeps_that_train_ask_for_a_gpu(trials: list, gpus: float, share: float) -> None:
    assert need_among(Resources(cpu=2), trials, gpus) == {"cpu": 2, "gpu": share}


def test_masks_alone_get_no_gpu_whatever_the_file_asks_for() -> None:
    (share,) = shares_of(Resources(gpu=0.25), [MASK], 8.0)
    assert share.need == {"cpu": 1, "gpu": 0} and share.wanted(MASK)


def test_a_sweep_of_both_kinds_has_two_shares_and_each_trial_is_in_one() -> None:
    first, second = shares_of(Resources(gpu=0.25), [MASK, TRAINS], 0.0)
    assert (first.need["gpu"], second.need["gpu"]) == (0.25, 0)
    for share, own, other in ((first, TRAINS, MASK), (second, MASK, TRAINS)):
        assert share.wanted(own) and not share.wanted(other)


def test_without_gpus_there_is_one_share() -> None:
    assert len(shares_of(Resources(), [MASK, TRAINS], 0.0)) == 1
    assert len(shares_of(Resources(gpu=0), [MASK, TRAINS], 8.0)) == 1


def test_networks_and_splits_do_not_depend_on_method_ratio_or_seed() -> None:
    trials = [TRAINS, MASK, tiny(seed=1), tiny(method="rpi-erk"), tiny(log10_ratio=1)]
    assert [spec.protocol.epochs for spec in one_of_each_kind(trials)] == [3, 0]
