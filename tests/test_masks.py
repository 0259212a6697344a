"""Masks guard themselves, come back from files as they were, and keep what they prune at zero."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mica
from mica import Masks


@pytest.fixture
def masks() -> Masks:
    noise = torch.Generator().manual_seed(0)
    return Masks({
        "0": torch.rand(3, 2, 3, 3, generator=noise) < 0.3,
        "blocks.1.conv": torch.zeros(5, 7, dtype=torch.bool),
        "fc": torch.tensor([[True, False, True]]),
    })  # fmt: skip


@pytest.mark.parametrize("entry", [torch.ones(2), torch.ones(2, dtype=torch.uint8), np.ones(2, bool), [True]])
def test_only_bool_tensors_are_masks(entry: object) -> None:
    with pytest.raises(TypeError, match="the mask of layer 'fc' must be a bool tensor, found"):
        Masks({"fc": entry})


def test_counts_and_ratio_by_hand(masks: Masks) -> None:
    two = Masks({"a": torch.tensor([True, False, False, False]), "b": masks["fc"]})
    assert two.counts() == {"a": 1, "b": 2}
    assert (two.kept, two.total) == (3, 7)
    assert two.density == 3 / 7
    assert two.compression_ratio == 7 / 3
    assert repr(two) == "Masks(2 layers, 3 of 7 edges)"


def test_the_ratio_of_an_empty_mask_is_infinite() -> None:
    assert Masks({"a": torch.zeros(4, dtype=torch.bool)}).compression_ratio == float("inf")


def test_a_file_gives_back_the_same_masks(masks: Masks, tmp_path: Path) -> None:
    masks.save(tmp_path / "masks.npz")
    found = Masks.load(tmp_path / "masks.npz")
    assert list(found) == list(masks)
    assert all(torch.equal(found[name], masks[name]) for name in masks)
    assert found.digest() == masks.digest()


def test_a_file_takes_a_bit_an_edge(tmp_path: Path) -> None:
    noise = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) < 0.5
    Masks({"a": noise}).save(tmp_path / "masks.npz")
    assert (tmp_path / "masks.npz").stat().st_size < 100_000 / 8 + 1000


def test_a_pickle_in_a_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", **{"bits/a": np.array([{}], dtype=object), "shape/a": np.array([1])})
    with pytest.raises(ValueError, match="pickle"):
        Masks.load(tmp_path / "evil.npz")


def test_the_digest_tells_masks_apart(masks: Masks) -> None:
    flipped = {name: mask.clone() for name, mask in masks.items()}
    flipped["fc"][0, 0] = False
    renamed = {"fc2" if name == "fc" else name: mask for name, mask in masks.items()}
    reshaped = {name: mask.reshape(7, 5) if len(mask) == 5 else mask for name, mask in masks.items()}
    digests = {Masks(changed).digest() for changed in (masks, flipped, renamed, reshaped)}
    assert len(digests) == 4


def test_apply_zeroes_the_pruned_weights_even_where_they_are_not_finite() -> None:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, float("nan"), float("inf")]]))
    mica.apply(nn.Sequential(layer), {"0": torch.tensor([[True, False, False]])})
    assert layer.weight.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("optimiser", [
    lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.01),
])  # fmt: skip
def test_pruned_weights_stay_exactly_zero_and_the_others_train(optimiser) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    masks = {"0": torch.rand(4, 2, 3, 3) < 0.5, "4": torch.rand(3, 16) < 0.5}
    mica.apply(model, masks)
    before = copy.deepcopy(model.state_dict())
    steps = optimiser(model.parameters())
    for _ in range(5):
        steps.zero_grad()
        model(torch.randn(8, 2, 4, 4)).square().mean().backward()
        steps.step()
    for name, mask in masks.items():
        weight = model.get_submodule(name).weight
        assert (weight[~mask] == 0).all()
        assert (weight != before[f"{name}.weight"])[mask].all()


def test_a_mask_of_another_shape_or_of_no_layer_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"layer '0': mask \(3, 2\), weight \(2, 3\)"):
        mica.apply(model, {"0": torch.ones(3, 2, dtype=torch.bool)})
    with pytest.raises(KeyError):
        mica.apply(model, {"1": torch.ones(2, 3, dtype=torch.bool)})
