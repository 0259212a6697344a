"""Trials that run together leave the records that they leave one by one."""

from collections.abc import Iterator

import pytest
import torch

from mica.trial import TrialSpec, run, run_together
from tests.trial.sample import Shelf, tiny, without_provenance

FEW = {"epochs": 3, "batch_size": 16, "train_size": 40, "val_size": 20, "test_size": 20}
FEW |= {"augment": "crop-flip"}
VGG = {"model": "vgg11", "protocol": FEW}


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def vgg(method: str, ratio: float, **changes: object) -> TrialSpec:
    return tiny(**{**VGG, "method": method, "log10_ratio": ratio, **changes})


SOCIABLE = [("mica-igq", 3.5), ("mica-erk", 3.0), ("rpi-igq", 2.5), ("rbpi-synflow", 3.5)]


def test_records_are_those_of_single_runs(threads: None) -> None:
    """Of networks that learn at a time, one that has collapsed, and one that learns by torch."""
    specs = [vgg(*each) for each in [*SOCIABLE, ("rpi-erk", 6.0), ("mica-erk", 0.5)]]
    together = run_together(specs)
    assert [record.outcome for record in together] == ["completed"] * 4 + ["collapsed", "completed"]
    for spec, record in zip(specs, together, strict=True):
        assert without_provenance(record) == without_provenance(run(spec)), str(spec)


def test_one_that_diverges_leaves_the_others_alone() -> None:
    wild = {**FEW, "lr": 1e6}
    specs = [vgg(*each, protocol=wild) for each in SOCIABLE]
    together = run_together(specs)
    assert "diverged" in {record.outcome for record in together}
    for spec, record in zip(specs, together, strict=True):
        assert without_provenance(record) == without_provenance(run(spec)), str(spec)


def test_each_goes_on_from_its_own_checkpoint() -> None:
    specs = [vgg(*each) for each in SOCIABLE]
    undisturbed = [without_provenance(run(spec)) for spec in specs]
    shelves = {spec.key: Shelf() for spec in specs}
    steps = iter(range(10**6))

    def stop_in_the_second_epoch() -> None:
        if next(steps) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_together(specs, keepers=shelves, on_step=stop_in_the_second_epoch)
    assert all(list(shelf.contents) == ["0001"] for shelf in shelves.values())
    del shelves[specs[0].key].contents["0001"]  # this one begins again
    seen: list[tuple[str, int]] = []
    together = run_together(
        specs, keepers=shelves, on_epoch=lambda spec, epoch: seen.append((spec.key, epoch.number))
    )
    assert [without_provenance(record) for record in together] == undisturbed
    assert sorted(number for key, number in seen if key == specs[0].key) == [1, 2, 3]
    assert all(sorted(n for k, n in seen if k == spec.key) == [2, 3] for spec in specs[1:])


def test_trials_of_another_seed_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="the same data, seed and protocol"):
        run_together([tiny(), tiny(seed=1)])
