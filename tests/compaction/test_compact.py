"""The small network computes what the masked one computes, step after step, in float64."""

import copy
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica import models
from mica.errors import TraceError
from tests.oracle.networks import OracleNet, random_masks, random_network

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(network: nn.Module, masks: mica.Masks, images: Tensor, labels: Tensor, steps: int, lr: float):
    """Losses of each step, and the momentum at the end by parameter name."""
    mica.apply(network, masks)
    network.train()
    sgd = torch.optim.SGD(network.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=1e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)  # dropout draws the same for both
        loss = F.cross_entropy(network(images[step % len(images)]), labels[step % len(images)])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.detach())
    momentum = {
        name: sgd.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
        if "momentum_buffer" in sgd.state[parameter]
    }
    return torch.stack(losses), momentum


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}


def assert_same(small: Mapping[str, Tensor], full: Mapping[str, Tensor], compact: mica.Compact) -> None:
    part = compact.gather(full)
    for name, value in small.items():
        torch.testing.assert_close(value, part[name], **CLOSE, msg=lambda m, name=name: f"{name}: {m}")


def compare(
    model: nn.Module,
    masks: mica.Masks,
    shape: tuple[int, ...],
    steps: int = 20,
    lr: float = 1e-3,
    batch: int = 5,
):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, batch, *shape, generator=generator, dtype=torch.float64)
    compact = mica.compact(model, masks, shape)
    full, small = copy.deepcopy(model), compact.model
    classes = full.eval()(images[0]).shape[1]
    labels = torch.randint(classes, (3, batch), generator=generator)

    full_losses, full_momentum = train(full, masks, images, labels, steps, lr)
    small_losses, small_momentum = train(small, compact.masks, images, labels, steps, lr)
    torch.testing.assert_close(small_losses, full_losses, **CLOSE)
    assert_same(state(small), state(full), compact)
    assert_same(small_momentum, full_momentum, compact)
    torch.testing.assert_close(small.eval()(images[1]), full.eval()(images[1]), **CLOSE)
    return compact, full


def draws_dropout_by_function(net: OracleNet) -> bool:
    ops = mica.trace(net, net.input_shape).ops
    return any(op.kind == "dropout" and not op.is_module for op in ops)


@pytest.mark.parametrize("seed", range(80))
def test_random_networks_and_masks_train_alike(seed: int) -> None:
    torch.manual_seed(seed)
    net = random_network(seed).double()
    masks = mica.Masks(random_masks(net, seed))
    if draws_dropout_by_function(net):
        with pytest.raises(TraceError, match="dropout by a function"):
            mica.compact(net, masks, net.input_shape)
    else:
        compare(net, masks, net.input_shape)


@pytest.mark.parametrize("method", ["mica-igq", "rpi-igq", "rpi-uniform", "rbpi-magnitude"])
@pytest.mark.parametrize("name", ["vgg11", "resnet20", "mlp"])
def test_the_papers_networks_train_alike(name: str, method: str) -> None:
    shape = (3, 16, 16)
    model = models.build(name, input_shape=shape, classes=10, seed=0).double()
    masks = mica.sparsify(model, method, 10**2.5, 0, input_shape=shape)
    # Batch norm divides by the spread of few values here and magnifies rounding: more images, smaller steps.
    compare(model, masks, shape, steps=4, lr=1e-5, batch=16)


def test_micas_networks_become_small() -> None:
    model = models.build("vgg11", input_shape=(3, 16, 16), classes=10, seed=0)
    masks = mica.sparsify(model, "mica-igq", 10**3.5, 0, input_shape=(3, 16, 16))
    compact = mica.compact(model, masks, (3, 16, 16))
    assert compact.masks.kept == masks.kept
    assert compact.masks.total < 0.01 * masks.total


def test_half_dead_random_networks_become_small() -> None:
    model = models.build("resnet20", input_shape=(3, 32, 32), classes=10, seed=0)
    masks = mica.sparsify(model, "rpi-igq", 10**2.5, 0)
    compact = mica.compact(model, masks, (3, 32, 32))
    assert mica.functional(mica.trace(model, (3, 32, 32)), masks).kept <= compact.masks.kept < masks.kept


def test_what_is_dropped_keeps_its_value_when_the_rest_is_scattered_back() -> None:
    shape = (3, 16, 16)
    model = models.build("resnet20", input_shape=shape, classes=10, seed=0).double()
    masks = mica.sparsify(model, "mica-igq", 100, 0, input_shape=shape)
    compact, trained = compare(model, masks, shape, steps=3)
    mica.apply(model, masks)
    before = {name: value.clone() for name, value in state(model).items()}
    compact.scatter(state(compact.model), model.state_dict())
    torch.testing.assert_close(compact.gather(state(model)), compact.gather(state(trained)), **CLOSE)
    for name, value in state(model).items():
        inside = torch.zeros(value.shape, dtype=torch.bool)
        compact.scatter(
            {name: torch.ones_like(compact.gather({name: value})[name], dtype=torch.bool)}, {name: inside}
        )
        assert torch.equal(value[~inside], before[name][~inside]), name


def test_the_given_network_is_not_touched() -> None:
    model = models.build("mlp", input_shape=(1, 8, 8), classes=10, seed=0)
    before = copy.deepcopy(state(model))
    masks = mica.sparsify(model, "mica-erk", 30, 0, input_shape=(1, 8, 8))
    compact = mica.compact(model, masks, (1, 8, 8))
    train(
        compact.model, compact.masks, torch.randn(1, 5, 1, 8, 8), torch.zeros(1, 5, dtype=torch.long), 2, 0.1
    )
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
