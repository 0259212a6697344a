"""Masks that move between epochs: which edges go, which come, and what they start from."""

import math

import pytest
import torch
from torch import nn

import mica
from mica.masks import Masks
from mica.rng import torch_seeded
from mica.training.engine import train
from mica.training.forms import enter
from mica.training.move import _moved, move
from mica.training.moving import Moving
from mica.training.protocol import Protocol
from mica.training.state import TrainState
from tests.training.sample import in_float32, parts

PROTOCOL = Protocol(epochs=8, batch_size=8, lr=0.05, augment="none", lr_drops=())


def protocol(name: str, **changes: object) -> Protocol:
    return PROTOCOL.model_copy(update={"moving": Moving(name=name, **changes)})


def network() -> nn.Module:
    with torch_seeded(0, "network"):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(72, 4),
        )  # fmt: skip


GRAPH = mica.trace(network(), (1, 6, 6))


def state_after(epochs: int, *, ratio: float = 4, double: bool = False) -> TrainState:
    masks = mica.sparsify(network(), "mica-erk", ratio, 0, graph=GRAPH)
    model, images = (network().double(), parts()) if double else (network(), in_float32(parts()))
    form = enter(model, GRAPH, TrainState.begin(model, masks), "cpu")
    for epoch in train(form, images, PROTOCOL, 0):
        if epoch.number == epochs:
            break
    return form.leave()


def test_the_smallest_weights_go_and_the_most_wanted_places_are_taken() -> None:
    mask = torch.tensor([[True, True, False], [False, True, True]])
    weight = torch.tensor([[0.5, -0.1, 0.0], [0.0, 0.1, -2.0]])
    # The smaller two of 0.5, 0.1, 0.1 and 2 go; then the places wanted most are 5 (kept), 2 and 4.
    wanted = torch.tensor([9.0, 1.0, 5.0, 0.0, 2.0, 7.0]).numpy()
    assert _moved(mask, weight, wanted, 2).tolist() == [[True, False, True], [False, True, True]]
    assert _moved(mask, weight, wanted, 0).tolist() == mask.tolist()
    full = torch.ones(2, 3, dtype=torch.bool)
    assert _moved(full, weight, wanted, 4).all(), "a dense layer has no other place"


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_a_layer_keeps_its_number_of_edges_and_moves_its_share(name: str) -> None:
    state = state_after(2)
    of = protocol(name)
    moved = move(state, network(), GRAPH, in_float32(parts()).train, of, 0)
    share = 0.3 if name == "set" else 0.15 * (1 + math.cos(math.pi * 2 / 6))
    assert moved.masks.counts() == state.masks.counts()
    for layer, mask in state.masks.items():
        gone = mask & ~moved.masks[layer]
        weight = state.tensors[f"{layer}.weight"].abs()
        assert 0 < int(gone.sum()) <= math.floor(share * int(mask.sum()))
        assert weight[gone].max() <= weight[mask & moved.masks[layer]].max()
    again = move(state, network(), GRAPH, in_float32(parts()).train, of, 0)
    other = move(state, network(), GRAPH, in_float32(parts()).train, of, 1)
    assert moved.masks.digest() == again.masks.digest() != other.masks.digest()


def test_rigl_grows_where_the_loss_of_the_masked_network_is_steepest() -> None:
    """Against gradients by finite differences, in float64, of every weight that was pruned."""
    state, images = state_after(2, double=True), parts().train
    of = protocol("rigl", share=0.5)
    moved = move(state, network().double(), GRAPH, images, of, 0)
    model = network().double()
    model.load_state_dict(dict(state.tensors))
    pixels, labels = next(iter(images.training_batches(8, seed=0, epoch=2, augment=False)))

    def loss() -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(model.train()(pixels.double()), labels))

    weight, step = model[4].weight, 1e-6
    slopes = torch.zeros_like(weight)
    for place in range(weight.numel()):
        with torch.no_grad():
            flat, before = weight.view(-1), float(weight.view(-1)[place])
            flat[place] = before + step
            high = loss()
            flat[place] = before - step
            slopes.view(-1)[place] = (high - loss()) / (2 * step)
            flat[place] = before
    old, new = state.masks["4"], moved.masks["4"]
    grown, passed_over = new & ~old, ~new & ~old
    assert int(grown.sum()) > 2
    assert slopes[grown].abs().min() >= slopes[passed_over].abs().max() - 1e-6


def test_edges_that_come_start_at_zero_and_others_stay_to_the_bit() -> None:
    state = state_after(2, ratio=1.5)  # every channel is used
    moved = move(state, network(), GRAPH, in_float32(parts()).train, protocol("set"), 0)
    for layer, mask in moved.masks.items():
        name, stayed = f"{layer}.weight", mask & state.masks[layer]
        assert torch.equal(moved.tensors[name][stayed], state.tensors[name][stayed])
        assert torch.equal(moved.momentum[name][stayed], state.momentum[name][stayed])
        assert not moved.tensors[name][~stayed].any() and not moved.momentum[name][~stayed].any()


def test_when_and_how_much_moves() -> None:
    set_, rigl = Moving(name="set", every=2), Moving(name="rigl", until=0.5)
    assert [set_.share_after(epoch, 8) for epoch in range(1, 9)] == [0, 0.3, 0, 0.3, 0, 0, 0, 0]
    shares = [rigl.share_after(epoch, 8) for epoch in range(1, 9)]
    assert shares[:4] == pytest.approx([0.25606602, 0.15, 0.04393398, 0]) and not any(shares[3:])
    assert [protocol("rigl").moves_after(epoch) for epoch in (1, 5, 6, 8)] == [True, True, False, False]
    assert not PROTOCOL.moves_after(1)


def test_a_mask_that_lost_all_its_paths_trains_on() -> None:
    state = state_after(1)
    masks = {name: mask.clone() for name, mask in state.masks.items()}
    masks["4"][:] = False
    dead = state.with_masks(Masks(masks), network(), GRAPH)
    for smaller in (True, False):
        form = enter(network(), GRAPH, dead, "cpu", smaller=smaller)
        found = list(train(form, in_float32(parts()), PROTOCOL, 0))
        assert found[-1].number == 8 and found[-1].finite
