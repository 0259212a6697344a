"""Training: masked weights stay zero, and the numbers are those of plain SGD on weight × mask."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica.training.engine import Parts, train
from mica.training.evaluation import evaluate
from mica.training.protocol import Precision, Protocol
from mica.training.state import Epoch
from mica.trial.device import compute_exactly
from tests.training.sample import in_float32, parts, plain_form

SHORT = Protocol(
    epochs=4, batch_size=8, lr=0.1, lr_drops=(0.5,), lr_factor=0.2, weight_decay=0.05, augment="crop-flip"
)
CONVS = {"0": {"stride": 1, "padding": 1}, "3": {"stride": 2, "padding": 0}}


def network() -> nn.Sequential:
    with mica.rng.torch_seeded(0, "network"):
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip
    return model.double()


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(1)
    shapes = {name: model.get_submodule(name).weight.shape for name in ("0", "3", "7")}
    return {name: torch.rand(shape, generator=noise) < 0.4 for name, shape in shapes.items()}


def reference_logits(x: Tensor, weights: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
    """The forward pass in train mode, written out, with weight × mask in place of each weight."""
    for index, (conv, options) in enumerate(CONVS.items()):
        kernel = weights[f"{conv}.weight"] * masks[conv]
        x = F.conv2d(x, kernel, weights.get(f"{conv}.bias"), **options)
        norm = 3 * index + 1
        x = F.batch_norm(x, None, None, weights[f"{norm}.weight"], weights[f"{norm}.bias"], training=True)
        x = torch.relu(x)
    return F.linear(x.flatten(1), weights["7.weight"] * masks["7"], weights["7.bias"])


def reference_training(
    model: nn.Module, masks: dict[str, Tensor], images: Parts, protocol: Protocol, seed: int
) -> dict[str, Tensor]:
    """SGD with Nesterov's momentum and weight decay, written out (Sutskever et al. 2013, as torch has it)."""
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for index in range(protocol.epochs):
        lr = protocol.lr * protocol.lr_factor ** (index >= protocol.epochs / 2)
        batches = images.train.training_batches(protocol.batch_size, seed=seed, epoch=index, augment=True)
        for pixels, labels in batches:
            loss = F.cross_entropy(reference_logits(pixels, weights, masks), labels)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            with torch.no_grad():
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                    gradient = gradient + protocol.weight_decay * weight
                    velocity[name] = protocol.momentum * velocity[name] + gradient
                    weight -= lr * (gradient + protocol.momentum * velocity[name])
    return {name: weight.detach() for name, weight in weights.items()}


def run(
    model: nn.Module, protocol: Protocol = SHORT, images: Parts | None = None, seed: int = 3
) -> list[Epoch]:
    return list(train(plain_form(model), images or parts(), protocol, seed))


@pytest.mark.parametrize("masked", [True, False])
def test_training_equals_the_reference_that_multiplies_by_the_mask(masked: bool) -> None:
    model = network()
    masks = {name: mask if masked else torch.ones_like(mask) for name, mask in masks_of(model).items()}
    expected = reference_training(model, masks, parts(), SHORT, seed=3)
    form = plain_form(model, masks)
    assert len(list(train(form, parts(), SHORT, seed=3))) == 4
    before = model.state_dict()
    for name, weight in form.network.named_parameters():
        wanted = expected[name]
        layer, _, kind = name.partition(".")
        if kind == "weight" and layer in masks:
            assert (weight[~masks[layer]] == 0).all()
            wanted = wanted * masks[layer]
        assert torch.allclose(weight, wanted, rtol=0, atol=2e-6), name  # the engine takes the loss in float32
        assert (weight - before[name]).abs().max() > 1e-3, "nothing was trained"


def test_masked_weights_are_zero_after_every_epoch() -> None:
    model = network().float()
    masks = masks_of(model)
    form, images = plain_form(model, masks), in_float32(parts())
    epochs = 0
    for _ in train(form, images, SHORT, seed=0):
        epochs += 1
        weights = {name: form.network.get_submodule(name).weight for name in masks}
        assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
    assert epochs == 4


def test_the_learning_rate_of_each_epoch() -> None:
    assert [epoch.lr for epoch in run(network())] == [0.1, 0.1, pytest.approx(0.02), pytest.approx(0.02)]
    assert [epoch.number for epoch in run(network())] == [1, 2, 3, 4]


def test_the_network_learns() -> None:
    protocol = SHORT.model_copy(update={"epochs": 20, "augment": "none", "weight_decay": 1e-3})
    epochs = run(network(), protocol, parts(train=60))
    assert epochs[-1].train.loss < 0.5 * epochs[0].train.loss
    assert epochs[-1].train.top1 > 95
    assert epochs[-1].test.top1 > 60  # chance: 25


def test_validation_and_test_are_evaluated_as_they_are_with_the_epoch_s_weights() -> None:
    form, images = plain_form(network()), parts()
    for epoch in train(form, images, SHORT, seed=0):
        assert epoch.val == evaluate(form.network, images.val)
        assert epoch.test == evaluate(form.network, images.test)
        assert form.network.training


def test_train_metrics_are_means_over_the_images_of_the_epoch() -> None:
    model, images = network(), parts()  # 22 images: batches of 8, 8 and 6
    still = SHORT.model_copy(update={"epochs": 1, "lr": 1e-300, "weight_decay": 0.0})
    batches = list(images.train.training_batches(8, seed=3, epoch=0, augment=True))
    model.train()
    losses = [F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches]
    hits = [(model(x).argmax(dim=1) == y).sum().item() for x, y in batches]
    (epoch,) = run(model, still, images)
    assert epoch.train.loss == pytest.approx(sum(losses) / 22, rel=1e-5)
    assert epoch.train.top1 == pytest.approx(100 * sum(hits) / 22)


def test_the_same_seed_trains_to_the_same_bits_and_another_does_not() -> None:
    ends = []
    for seed in (0, 0, 1):
        form = plain_form(network())
        list(train(form, parts(), SHORT, seed))
        ends.append(form.network.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not torch.equal(ends[0]["0.weight"], ends[2]["0.weight"])


def test_a_network_in_eval_mode_is_trained_all_the_same() -> None:
    forms = [plain_form(network()), plain_form(network().eval())]
    one, other = ([epoch.test for epoch in train(form, parts(), SHORT, seed=0)] for form in forms)
    assert one == other
    networks = (form.network.parameters() for form in forms)
    assert all(torch.equal(*pair) for pair in zip(*networks, strict=True))


def test_a_longer_training_begins_as_the_shorter_one() -> None:
    longer = SHORT.model_copy(update={"epochs": 6, "lr_drops": (0.9,)})
    shorter = longer.model_copy(update={"epochs": 3})
    both = zip(run(network(), longer), run(network(), shorter), strict=False)
    assert all(one.test == other.test and one.train == other.train for one, other in both if one.number < 3)


def test_training_stops_where_it_diverges() -> None:
    epochs = run(network().float(), SHORT.model_copy(update={"lr": 1e30}), in_float32(parts()))
    assert not epochs[-1].finite
    assert len(epochs) < 4
    assert all(epoch.finite for epoch in epochs[:-1])


def test_what_has_diverged_does_not_go_on() -> None:
    form = plain_form(network().float())
    protocol, images = SHORT.model_copy(update={"lr": 1e30}), in_float32(parts())
    assert list(train(form, images, protocol, seed=0))
    assert not list(train(form, images, protocol, seed=0))


def test_a_longer_protocol_goes_on_where_the_shorter_one_ended() -> None:
    longer = SHORT.model_copy(update={"epochs": 6, "lr_drops": ()})
    shorter = longer.model_copy(update={"epochs": 3})
    form = plain_form(network())
    found = [*train(form, parts(), shorter, seed=3), *train(form, parts(), longer, seed=3)]
    assert [epoch.number for epoch in found] == [1, 2, 3, 4, 5, 6] == [row.number for row in form.rows]
    assert [epoch.test for epoch in found] == [epoch.test for epoch in run(network(), longer)]


def test_bfloat16_computes_other_numbers_that_are_close() -> None:
    images = in_float32(parts())
    protocol = SHORT.model_copy(update={"epochs": 1, "lr": 0.01})
    (exact,) = run(network().float(), protocol, images)
    (rough,) = run(network().float(), protocol.model_copy(update={"precision": "bf16"}), images)
    assert rough.train.loss != exact.train.loss and rough.test.loss != exact.test.loss
    assert math.isclose(rough.train.loss, exact.train.loss, rel_tol=0.02)


def test_momentum_of_zero_is_plain_gradient_descent() -> None:
    assert run(network(), SHORT.model_copy(update={"momentum": 0.0}))[-1].finite


def test_dropout_is_drawn_from_the_seed_alone() -> None:
    def last(seed: int) -> float:
        torch.rand(3)  # moves the global stream
        model = network().insert(3, nn.Dropout(0.5))
        *_, epoch = run(model, seed=seed)
        return epoch.train.loss

    with torch.random.fork_rng(devices=[]):
        assert last(0) == last(0) != last(1)


def test_every_batch_is_told() -> None:
    calls: list[int] = []
    list(train(plain_form(network()), parts(), SHORT, 3, lambda: calls.append(1)))
    assert len(calls) == 4 * (3 + 1 + 1)  # batches of training, validation and test


@pytest.mark.parametrize("last", [0, 2, 3, 4])
def test_who_is_told_may_end_it(last: int) -> None:
    class Enough(BaseException):
        pass

    calls: list[int] = []

    def on_step() -> None:
        if len(calls) == last + 5:
            raise Enough
        calls.append(1)

    before = torch.get_rng_state()
    form = plain_form(network())
    told = train(form, parts(), SHORT, 3, on_step)
    next(told)
    held = form.hold()
    with pytest.raises(Enough):
        next(told)
    assert len(form.rows) == 1
    other = plain_form(network())
    next(train(other, parts(), SHORT, 3))
    ours, wanted = form.leave(held), other.leave()
    assert all(torch.equal(value, wanted.tensors[name]) for name, value in ours.tensors.items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("precision", "expected"), [("tf32", "tf32"), ("fp32", "ieee")])
def test_tf32_is_allowed_in_training_alone(precision: Precision, expected: str) -> None:
    compute_exactly()
    protocol = SHORT.model_copy(update={"precision": precision})
    backends: Any = torch.backends

    def check() -> None:
        found = (backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision)
        assert found == (expected, expected)

    list(train(plain_form(network()), parts(), protocol, 0, check))
    assert backends.cudnn.conv.fp32_precision == backends.cuda.matmul.fp32_precision == "ieee"
