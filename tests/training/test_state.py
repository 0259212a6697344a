"""A training left after any epoch goes on as if it had not been left: in the same form, or in another."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica import models
from mica.edgewise import substitution
from mica.rng import torch_seeded
from mica.training.engine import Parts, train
from mica.training.forms import Form, choice, enter
from mica.training.protocol import Protocol
from mica.training.state import Epoch, TrainState
from tests.training.sample import in_float32, learnable, parts
from tests.training.test_forms import kind

FORMS = ("plain", "compact", "edge by edge")
SHORT = Protocol(epochs=4, batch_size=8, lr=0.05, lr_drops=(0.5,), lr_factor=0.2, weight_decay=0.02)
SMALL, LARGE = (1, 6, 6), (1, 16, 16)
LAYERS = ("0", "4", "8", "12")
UNREAD, DEAD, LAST = 2, 5, 3
"""Output channels of layer 4: at first nothing reads one and nothing reaches another; the last dies later."""


@pytest.fixture(autouse=True)
def every_form_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(substitution, "_DENSE_SPEED", 1)
    monkeypatch.setattr(choice, "_NEARLY_DENSE", 1)


def start(form: str, model: nn.Module, graph: mica.LayerGraph, state: TrainState) -> Form:
    with pytest.MonkeyPatch.context() as patch:
        if form == "compact":
            patch.setattr(choice, "edgewise", lambda small: None)
        entered = enter(model, graph, state, "cpu", smaller=form != "plain")
    assert kind(entered) == form
    return entered


def network() -> nn.Module:
    with torch_seeded(0, "network"):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU(), nn.Dropout(0.2),
            nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None), nn.ReLU(), nn.Flatten(),
            nn.Linear(72, 4),
        )  # fmt: skip


def random_masks(seed: int) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(seed)
    shapes = {name: network().get_submodule(name).weight.shape for name in LAYERS}
    return {name: torch.rand(shape, generator=noise) < 0.5 for name, shape in shapes.items()}


def first_masks() -> mica.Masks:
    masks = random_masks(1)
    masks["8"][:, UNREAD] = False
    masks["4"][DEAD] = False
    return mica.Masks(masks)


def later_masks() -> mica.Masks:
    """Some edges moved; the two channels live, another is read no more, and one is a constant from now on."""
    masks, other = dict(first_masks()), random_masks(2)
    for name in LAYERS:
        masks[name] = torch.where(torch.rand(masks[name].shape) < 0.2, other[name], masks[name])
    masks["8"][:, UNREAD] = other["8"][:, UNREAD]
    masks["4"][DEAD] = other["4"][DEAD]
    masks["8"][:, LAST] = False
    masks["4"][1] = False
    return mica.Masks(masks)


def of_channel(channel: int) -> dict[str, tuple[object, ...]]:
    """All that belongs to an output channel of layer 4."""
    norm = {f"5.{name}": (channel,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {"4.weight": (channel,), "8.weight": (slice(None), channel), **norm}


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    for name, mask in masks.items():
        tensors[f"{name}.weight"] *= mask
    return tensors


def assert_same(found: TrainState, wanted: TrainState) -> None:
    """To the bit, seconds aside."""
    for one, other in ((found.tensors, wanted.tensors), (found.momentum, wanted.momentum)):
        assert one.keys() == other.keys()
        assert not [name for name in one if not torch.equal(one[name], other[name])]
    assert found.masks.digest() == wanted.masks.digest() and found.epoch == wanted.epoch
    assert without_seconds(found.rows) == without_seconds(wanted.rows)


def without_seconds(rows: tuple[Epoch, ...]) -> list[Epoch]:
    return [replace(row, seconds=0) for row in rows]


def assert_close(found: TrainState, wanted: TrainState) -> None:
    """To 1e-9 of a tensor's largest entry."""
    for one, other in ((found.tensors, wanted.tensors), (found.momentum, wanted.momentum)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            size = float(other[name].abs().max())
            torch.testing.assert_close(value, other[name], rtol=0, atol=1e-9 * size, msg=name)
    for one, other in zip(found.rows, wanted.rows, strict=True):
        for part in ("train", "val", "test"):
            pair = (getattr(row, part) for row in (one, other))
            losses = [metrics.loss for metrics in pair]
            assert losses[0] == pytest.approx(losses[1], rel=1e-9)


class Case:
    """A network, its masks and its images; every call of `model` is another instance."""

    def __init__(self, name: str) -> None:
        self.name, self.shape = name, LARGE if name == "resnet20" else SMALL
        self.graph = mica.trace(self.model(), self.shape)
        if name == "resnet20":
            self.masks = mica.sparsify(self.model(), "rpi-igq", 10, 0, graph=self.graph)
            images = Parts(*(learnable(count, side=16, seed=count) for count in (22, 9, 11)))
        else:
            self.masks, images = first_masks(), parts()
        self.images = in_float32(images)

    def model(self) -> nn.Module:
        if self.name == "resnet20":
            return models.build("resnet20", input_shape=LARGE, classes=4, seed=0)
        return network()

    def begin(self) -> TrainState:
        return TrainState.begin(self.model(), self.masks)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["convolutions", "resnet20"])
def test_left_after_any_epoch_a_training_goes_on_with_the_same_bits(
    name: str, form: str, momentum: float
) -> None:
    case, protocol = Case(name), SHORT.model_copy(update={"momentum": momentum, "epochs": 3})
    once = start(form, case.model(), case.graph, case.begin())
    list(train(once, case.images, protocol, seed=3))
    undisturbed = once.leave()
    assert undisturbed.epoch == 3 and bool(undisturbed.momentum) == (momentum > 0)

    often = start(form, case.model(), case.graph, case.begin())
    states = [often.leave() for _ in train(often, case.images, protocol, seed=3)]
    assert_same(states[-1], undisturbed)
    for state in [case.begin(), *states]:
        model = case.model()
        again = start(form, model, mica.trace(model, case.shape), pickle.loads(pickle.dumps(state)))
        assert_same(again.leave(), state)
        assert len(list(train(again, case.images, protocol, seed=3))) == 3 - state.epoch
        assert_same(again.leave(), undisturbed)


@pytest.mark.parametrize("form", FORMS)
def test_the_state_misses_none_of_its_parts(form: str) -> None:
    """Without its momentum, or any tensor that training moves, a training goes on otherwise."""
    case = Case("convolutions")
    entered = start(form, case.model(), case.graph, case.begin())
    epochs = train(entered, case.images, SHORT, seed=3)
    next(epochs)
    state = entered.leave()
    next(epochs)
    wanted = entered.leave()

    def after(changed: TrainState) -> TrainState:
        other = start(form, case.model(), case.graph, changed)
        next(train(other, case.images, SHORT, seed=3))
        return other.leave()

    assert_same(after(state), wanted)
    begin = case.begin()
    changes = [{"momentum": {}}, {"momentum": {**state.momentum, "4.weight": 0 * state.momentum["4.weight"]}}]
    for tensor in ("4.weight", "5.bias", "1.running_var", "9.num_batches_tracked"):
        changes.append({"tensors": {**state.tensors, tensor: begin.tensors[tensor]}})
    for change in changes:
        with pytest.raises(AssertionError):
            assert_same(after(replace(state, **change)), wanted)


@pytest.mark.parametrize("form", FORMS)
def test_the_given_network_is_not_touched(form: str) -> None:
    case = Case("convolutions")
    model = case.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    entered = start(form, model, case.graph, TrainState.begin(model, case.masks))
    list(train(entered, case.images, SHORT, seed=0))
    entered.leave()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [type(module) for module in model.modules()] == kinds and model.training
    assert all(not p._backward_hooks and p.grad is None and p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_a_state_is_its_own(form: str) -> None:
    """What a form does after it was left, or to what it entered from, changes no state."""
    case = Case("convolutions")
    begin, kept = case.begin(), case.begin()
    entered = start(form, case.model(), case.graph, begin)
    epochs = train(entered, case.images, SHORT, seed=0)
    next(epochs)
    state, copied = entered.leave(), pickle.loads(pickle.dumps(entered.leave()))
    list(epochs)
    assert_same(begin, kept)
    assert_same(state, copied)


def double() -> nn.Module:
    return network().double()


def run(form: str, state: TrainState, until: int) -> TrainState:
    model = double()
    entered = start(form, model, mica.trace(model, SMALL), state)
    list(train(entered, parts(), SHORT.model_copy(update={"epochs": until, "lr_drops": ()}), seed=3))
    return entered.leave()


def test_begin_is_the_masked_network() -> None:
    model = double()
    state = TrainState.begin(model, first_masks())
    wanted = masked(model, first_masks())
    assert state.tensors.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in state.tensors.items())
    assert not state.momentum and not state.rows and state.epoch == 0


def test_every_form_goes_on_where_any_other_was_left() -> None:
    state = TrainState.begin(double(), first_masks())
    wanted = run("plain", state, 3)
    for order in (FORMS, FORMS[::-1], ("compact", "plain", "edge by edge"), ("edge by edge",) * 3):
        found = state
        for epoch, form in enumerate(order):
            found = run(form, found, epoch + 1)
        assert_close(found, wanted)


@pytest.mark.parametrize("form", FORMS)
def test_droppable_channels_leave_as_they_were_before_the_first_step(form: str) -> None:
    begin = TrainState.begin(double(), first_masks())
    state = run(form, begin, 2)
    initial = masked(double(), first_masks())
    for channel in range(8):
        for name, at in of_channel(channel).items():
            same = torch.equal(state.tensors[name][at], initial[name][at])
            momentum = state.momentum.get(name, torch.zeros(8, 8))[at]
            assert same == (channel in (UNREAD, DEAD)), (channel, name)
            assert not same or not momentum.any(), (channel, name)


def moved_at_each_epoch() -> Iterator[mica.Masks]:
    yield first_masks()
    torch.manual_seed(0)
    yield later_masks()
    yield first_masks()


def with_moving_masks(*forms: str) -> list[TrainState]:
    """The state after each epoch; masks move between them, and so may the form."""
    model = double()
    graph, states = mica.trace(model, SMALL), []
    state = TrainState.begin(model, first_masks())
    for epoch, (form, masks) in enumerate(zip(forms, moved_at_each_epoch(), strict=True)):
        state = run(form, state.with_masks(masks, model, graph), epoch + 1)
        states.append(state)
    return states


def test_forms_agree_on_masks_that_move() -> None:
    wanted = with_moving_masks(*["plain"] * 3)
    for forms in (["compact"] * 3, ["edge by edge"] * 3, FORMS):
        for found, state in zip(with_moving_masks(*forms), wanted, strict=True):
            assert_close(found, state)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_move_of_masks_does(form: str) -> None:
    model = double()
    graph, initial = mica.trace(model, SMALL), double().state_dict()
    torch.manual_seed(0)
    old, new = first_masks(), later_masks()
    before = run(form, TrainState.begin(model, old), 1)
    after = before.with_masks(new, model, graph)
    assert after.rows == before.rows and after.masks.digest() == new.digest()
    for name in LAYERS:
        weight = f"{name}.weight"
        value, momentum = after.tensors[weight], after.momentum[weight]
        comes, goes, stays = new[name] & ~old[name], old[name] & ~new[name], old[name] & new[name]
        assert comes.any() and goes.any()
        assert not value[~new[name]].any() and not momentum[~new[name]].any() and not momentum[comes].any()
        droppable = torch.zeros_like(comes)
        for channel in (UNREAD, DEAD):
            if weight in of_channel(channel):
                droppable[of_channel(channel)[weight]] = True
        assert not value[comes & ~droppable].any()
        assert torch.equal(value[stays], before.tensors[weight][stays])
        assert torch.equal(momentum[stays], before.momentum[weight][stays])
        # A channel that no form has trained starts as it was before the first step, with all its edges.
        assert torch.equal(value[droppable & new[name]], initial[weight][droppable & new[name]])
        assert not momentum[droppable].any()
    prunable = {f"{name}.weight" for name in LAYERS}
    for name in after.tensors.keys() - prunable:
        assert torch.equal(after.tensors[name], before.tensors[name])

    # The channel that nothing reads any more is reset by the next form; the constant one trains on.
    later, wanted = run(form, after, 2), masked(double(), new)
    for name, at in of_channel(LAST).items():
        assert not torch.equal(before.tensors[name][at], masked(double(), old)[name][at])
        assert torch.equal(later.tensors[name][at], wanted[name][at])
        assert name not in later.momentum or not later.momentum[name][at].any()
    for channel in (1, UNREAD, DEAD):
        assert later.tensors["5.bias"][channel] != after.tensors["5.bias"][channel]


class DropsByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network()[:12]
        self.head = nn.Linear(72, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.body(x), 0.2, self.training))


def test_where_nothing_can_be_compacted_nothing_is_droppable() -> None:
    model = DropsByFunction()
    graph = mica.trace(model, SMALL)
    masks = {f"body.{name}" if name != "12" else "head": mask for name, mask in first_masks().items()}
    form = enter(model, graph, TrainState.begin(model, mica.Masks(masks)), "cpu")
    assert kind(form) == "plain"
    list(train(form, in_float32(parts()), SHORT, seed=0))
    state = form.leave()
    assert all(torch.equal(value, state.tensors[name]) for name, value in form.network.state_dict().items())
    weight, before = state.tensors["body.4.weight"], masked(model, masks)["body.4.weight"]
    assert not torch.equal(weight[UNREAD], before[UNREAD])


class TwoNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.first = self.body[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_with_two_names_has_one_weight(form: str) -> None:
    model = TwoNames()
    graph = mica.trace(model, SMALL)
    masks = mica.Masks({f"body.{name}": mask for name, mask in first_masks().items()})
    entered = start(form, model, graph, TrainState.begin(model, masks))
    list(train(entered, in_float32(parts()), SHORT, seed=0))
    for state in (entered.leave(), entered.leave().with_masks(masks, model, graph)):
        assert state.tensors.keys() == model.state_dict().keys()
        assert torch.equal(state.tensors["first.weight"], state.tensors["body.0.weight"])
        assert not torch.equal(state.tensors["first.weight"], masked(model, masks)["body.0.weight"])


@pytest.mark.parametrize("form", FORMS)
def test_what_is_held_after_an_epoch_can_be_left_later(form: str) -> None:
    case = Case("convolutions")
    entered = start(form, case.model(), case.graph, case.begin())
    held, left = [entered.hold()], [entered.leave()]
    for _ in train(entered, case.images, SHORT, seed=3):
        held.append(entered.hold())
        left.append(entered.leave())
    for one, state in zip(held, left, strict=True):
        assert_same(entered.leave(one), state)


def test_a_small_form_holds_little() -> None:
    case = Case("resnet20")
    sparse = mica.sparsify(case.model(), "mica-igq", 1000, 0, graph=case.graph)
    entered = enter(case.model(), case.graph, TrainState.begin(case.model(), sparse), "cpu")
    held, edges = entered.hold(), sum(mask.numel() for mask in sparse.values())
    assert 0 < sum(value.numel() for value in held.values.values()) < edges / 50
