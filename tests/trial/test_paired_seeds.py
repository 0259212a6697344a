"""Trials that share a seed share weights, data order and augmentation, whatever the method (design 4.6)."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mica
from mica.graph import LayerGraph
from mica.masks import Masks
from mica.training.images import ImageSet
from mica.trial import run
from mica.trial.prepare import PreparedTrial, prepare
from mica.trial.run import load
from tests.trial.sample import tiny

METHODS = ["dense", "rpi-erk", "mica-erk", "mica-igq", "rbpi-snip", "rbpi-synflow", "mica-grasp"]


def prepared(method: str, seed: int = 0, **changes) -> PreparedTrial:
    return prepare(tiny(method=method, seed=seed, **changes), load(tiny()), "cpu")


def starting(method: str, how: str) -> PreparedTrial:
    return prepared(method, protocol={"initial_weights": how})


def same_images(one: ImageSet, other: ImageSet) -> bool:
    return torch.equal(one.pixels, other.pixels) and torch.equal(one.labels, other.labels)


def batches(trial: PreparedTrial) -> list[torch.Tensor]:
    images = trial.parts().train
    return [x for x, _ in images.training_batches(16, seed=trial.spec.seed, epoch=1, augment=True)]


def test_one_seed_gives_every_method_the_same_weights_images_and_order() -> None:
    trials = [prepared(method) for method in METHODS]
    for one, other in pairwise(trials):
        weights, others = one.model.state_dict(), other.model.state_dict()
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        for part in ("train", "val", "test"):
            assert same_images(getattr(one.parts(), part), getattr(other.parts(), part))
        assert all(torch.equal(*pair) for pair in zip(batches(one), batches(other), strict=True))
    assert len({trial.masks.digest() for trial in trials}) == len(METHODS)


def test_another_seed_changes_weights_split_order_and_mask_but_not_the_test_images() -> None:
    one, other = prepared("rpi-erk", 0), prepared("rpi-erk", 1)
    assert not torch.equal(one.model[1].weight, other.model[1].weight)
    assert not same_images(one.parts().train, other.parts().train)
    assert not same_images(one.parts().val, other.parts().val)
    assert same_images(one.parts().test, other.parts().test)
    assert one.masks.digest() != other.masks.digest()


def test_a_network_is_traced_once_for_masks_that_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[torch.nn.Module] = []

    def trace(model: torch.nn.Module, shape: tuple[int, ...]) -> LayerGraph:
        traced.append(model)
        return mica.trace(model, shape)

    monkeypatch.setattr("mica.trial.prepare.trace", trace)
    monkeypatch.setattr("mica.trial.prepare._LAST", {})
    for changes in ({}, {"log10_ratio": 1.0}, {"method": "mica-igq"}):
        trial = prepared(**{"method": "rpi-erk", **changes})
        assert trial.graph == mica.trace(trial.model, (1, 8, 8))
    assert len(traced) == 1
    wider = {"name": "mlp", "hidden": [16, 20]}
    for changes in ({"seed": 1}, {"model": wider}, {}):
        trial = prepared(**{"method": "rpi-erk", **changes})
        assert trial.graph == mica.trace(trial.model, (1, 8, 8))
    assert len(traced) == 4


def test_a_ratio_does_not_move_weights_or_images() -> None:
    one, other = prepared("rpi-erk"), prepared("rpi-erk", log10_ratio=1.0)
    assert torch.equal(one.model[1].weight, other.model[1].weight)
    assert same_images(one.parts().train, other.parts().train)


def test_redrawn_weights_are_others_under_the_same_masks() -> None:
    drawn, redrawn = (
        prepared("rbpi-snip", protocol={"initial_weights": how}) for how in ("drawn", "redrawn")
    )
    again = prepared("rbpi-snip", protocol={"initial_weights": "redrawn"})
    assert drawn.masks.digest() == redrawn.masks.digest()
    for name in drawn.masks:
        weight, other = (each.model.get_parameter(f"{name}.weight") for each in (drawn, redrawn))
        assert not (weight == other).any()
        assert abs(weight.std() / other.std() - 1) < 0.25, "of the same distribution"
        assert torch.equal(other, again.model.get_parameter(f"{name}.weight"))


def test_rescaled_weights_grow_with_the_root_of_what_their_unit_has_lost() -> None:
    drawn, rescaled = (
        prepared("rpi-erk", protocol={"initial_weights": how}) for how in ("drawn", "rescaled")
    )
    assert drawn.masks.digest() == rescaled.masks.digest()
    for name, mask in drawn.masks.items():
        weight, other = (each.model.get_parameter(f"{name}.weight").tolist() for each in (drawn, rescaled))
        for row, its, kept in zip(weight, other, mask.tolist(), strict=True):
            factor = math.sqrt(len(row) / max(1, sum(kept)))
            assert its == pytest.approx([factor * value for value in row], rel=1e-6)


def test_normalised_weights_have_length_one_and_a_sum_that_is_not_negative() -> None:
    drawn, normalised = (
        prepared("rpi-erk", protocol={"initial_weights": how}) for how in ("drawn", "normalised")
    )
    assert drawn.masks.digest() == normalised.masks.digest()
    *hidden, last = drawn.masks
    for name in hidden:
        weight, other = (each.model.get_parameter(f"{name}.weight").tolist() for each in (drawn, normalised))
        for row, its, mask in zip(weight, other, drawn.masks[name].tolist(), strict=True):
            kept = [value for value, keep in zip(row, mask, strict=True) if keep]
            length = math.hypot(*kept) or 1.0
            sign = -1 if sum(kept) < 0 else 1
            assert its == pytest.approx([sign * value / length for value in row], rel=1e-6)
    last_weights = (each.model.get_parameter(f"{last}.weight") for each in (drawn, normalised))
    assert torch.equal(*last_weights)


def test_open_weights_are_normalised_ones_and_shifts_of_one_where_a_unit_has_edges() -> None:
    changes = {"model": "vgg11", "data": "digits", "log10_ratio": 3.5}
    normalised, opened = (
        prepared("rpi-erk", protocol={"initial_weights": how}, **changes) for how in ("normalised", "open")
    )
    was, now = normalised.model.state_dict(), opened.model.state_dict()
    shifts = {op.inputs[0]: f"{op.name}.bias" for op in opened.graph.ops if op.kind == "batch_norm"}
    assert len(shifts) == 8
    assert all(torch.equal(was[name], now[name]) for name in set(was) - set(shifts.values()))
    for before, name in shifts.items():
        mask = opened.masks[opened.graph.ops[before].name]
        assert now[name].tolist() == [float(bool(row.any())) for row in mask]


def test_training_and_validation_images_are_apart() -> None:
    parts = prepared("dense").parts()
    train = {image.numpy().tobytes() for image in parts.train.pixels}
    assert not any(image.numpy().tobytes() in train for image in parts.val.pixels)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (48, 12, 20)


@pytest.mark.parametrize(("keep", "files"), [
    ("nothing", []), ("masks", ["masks.npz"]), ("weights", ["masks.npz", "weights.safetensors"]),
])  # fmt: skip
def test_a_trial_leaves_the_files_asked_for(keep: str, files: list[str], tmp_path: Path) -> None:
    run(tiny(keep=keep), folder=tmp_path / "kept")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == files


def test_kept_masks_and_weights_are_the_trial_s(tmp_path: Path) -> None:
    record = run(tiny(keep="weights"), folder=tmp_path)
    masks = Masks.load(tmp_path / "masks.npz")
    weights = load_file(tmp_path / "weights.safetensors")
    assert record.mask is not None and masks.digest() == record.mask.digest
    assert masks.counts() == {layer.name: layer.placed for layer in record.layers}
    initial = prepared("mica-erk").model.state_dict()
    for name, mask in masks.items():
        weight = weights[f"{name}.weight"]
        assert (weight[~mask] == 0).all()
        assert (weight != initial[f"{name}.weight"])[mask].any()


def test_kept_files_change_no_number(tmp_path: Path) -> None:
    assert run(tiny(keep="weights"), folder=tmp_path).epochs == run(tiny()).epochs
