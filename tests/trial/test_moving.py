"""Whole trials whose masks move: stopped anywhere they go on, and every form gives the same."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mica.masks import Masks
from mica.training.moving import Moving
from mica.trial import Record, TrialSpec, run
from mica.trial.record import Record as RecordOf
from tests.trial.sample import Shelf, tiny, without_provenance

MOVING = [Moving(name="set", share=0.5), Moving(name="rigl", every=2, share=0.5)]


def trial(moving: Moving | None, **changes) -> TrialSpec:
    protocol = {"epochs": 8, "moving": moving, **changes.pop("protocol", {})}
    return tiny(protocol=protocol, log10_ratio=1.0, **changes)


@pytest.mark.parametrize("moving", MOVING, ids=str)
def test_the_record_holds_the_first_mask_and_the_last(moving: Moving, tmp_path: Path) -> None:
    record = run(trial(moving, keep="weights"), folder=tmp_path)
    still = run(trial(None))
    assert record.moved and record.mask == still.mask and still.moved is None
    assert record.moved.digest != record.mask.digest
    assert record.moved.edges_placed == record.mask.edges_placed
    first, last = (Masks.load(tmp_path / name) for name in ("masks.npz", "masks-last.npz"))
    assert (first.digest(), last.digest()) == (record.mask.digest, record.moved.digest)
    assert first.counts() == last.counts()
    weights = load_file(tmp_path / "weights.safetensors")
    assert all(not weights[f"{name}.weight"][~mask].any() for name, mask in last.items())
    assert RecordOf.model_validate(json.loads(record.model_dump_json())) == record


@pytest.mark.parametrize("moving", MOVING, ids=str)
@pytest.mark.parametrize("model", ["mlp", "convolutions"])
def test_stopped_after_any_epoch_it_goes_on_to_the_same_record(moving: Moving, model: str) -> None:
    changes = {} if model == "mlp" else {"model": "resnet20", "protocol": {"epochs": 5, "batch_size": 30}}
    spec = trial(moving, **changes)
    shelf = Shelf()
    undisturbed = run(spec, keeper=shelf)
    assert len(shelf.contents) == spec.protocol.epochs
    for name, content in list(shelf.contents.items())[:-1]:
        resumed = run(spec, keeper=Shelf({name: content}, every=1e9))
        assert f"went on after epoch {int(name)}" in resumed.provenance.remarks[0]
        assert without_provenance(resumed) == without_provenance(undisturbed), name


def interrupted(spec: TrialSpec, shelf: Shelf, step: int) -> Record | None:
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count == step:
            raise KeyboardInterrupt

    try:
        return run(spec, keeper=shelf, on_step=stop)
    except KeyboardInterrupt:
        return None


def test_interrupted_in_an_epoch_after_a_move_it_saves_what_was_there_before_the_move() -> None:
    spec, shelf = trial(MOVING[0]), Shelf(every=1e9)
    assert interrupted(spec, shelf, 40) is None
    assert list(shelf.contents)
    assert without_provenance(run(spec, keeper=shelf)) == without_provenance(run(spec))


@pytest.mark.parametrize("moving", MOVING, ids=str)
def test_the_small_network_and_the_full_one_give_the_same(moving: Moving) -> None:
    small, full = (run(trial(moving, compact=compact)) for compact in (True, False))
    assert small.moved == full.moved
    for one, other in zip(small.epochs, full.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.test_top1 == pytest.approx(other.test_top1, abs=5.1)


def test_a_checkpoint_with_masks_that_are_none_of_its_trial_s_is_set_aside() -> None:
    spec, shelf = trial(MOVING[0]), Shelf()
    run(spec, keeper=shelf)
    still = Shelf({"0003": shelf.contents["0003"]})
    run(trial(None), keeper=still)
    assert "0003" in still.refused


def test_masks_that_stay_train_as_ever() -> None:
    never = run(trial(Moving(name="set", every=100)))
    still = run(trial(None))
    assert never.epochs == still.epochs and never.moved.digest == never.mask.digest == still.mask.digest
