"""The small network computes what the masked one computes, step after step, in float64."""

import copy
import pickle
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica import models
from mica.errors import TraceError
from mica.graph import tracing
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


def part_of(full: Mapping[str, Tensor], compact: mica.Compact) -> dict[str, Tensor]:
    """What of the full network's tensors the small one has, dimension by dimension."""
    parts = {}
    for name, place in compact.places.items():
        if name in full:
            part = full[name]
            for dim, positions in enumerate(place):
                part = part.index_select(dim, positions)
            parts[name] = part if place else part.clone()
    return parts


def assert_same(small: Mapping[str, Tensor], full: Mapping[str, Tensor], compact: mica.Compact) -> None:
    part = part_of(full, compact)
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
    compact = mica.compact(model, masks, mica.trace(model, shape))
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
            mica.compact(net, masks, mica.trace(net, net.input_shape))
    else:
        compare(net, masks, net.input_shape)


@pytest.mark.parametrize("method", ["mica-igq", "rpi-igq", "rpi-uniform", "rbpi-magnitude"])
@pytest.mark.parametrize("name", ["vgg11", "resnet20", "mlp"])
def test_the_papers_networks_train_alike(name: str, method: str) -> None:
    shape = (3, 16, 16)
    model = models.build(name, input_shape=shape, classes=10, seed=0).double()
    # Sparser ones have channels that read a constant: at ReLU's kink, where nothing but rounding decides.
    masks = mica.sparsify(model, method, 100, 0, input_shape=shape)
    # Batch norm divides by the spread of few values here and magnifies rounding: more images, smaller steps.
    compare(model, masks, shape, steps=4, lr=1e-5, batch=32)


def test_micas_networks_become_small() -> None:
    model = models.build("vgg11", input_shape=(3, 16, 16), classes=10, seed=0)
    masks = mica.sparsify(model, "mica-igq", 10**3.5, 0, input_shape=(3, 16, 16))
    compact = mica.compact(model, masks, mica.trace(model, (3, 16, 16)))
    assert compact.masks.kept == masks.kept
    assert compact.masks.total < 0.01 * masks.total


def test_half_dead_random_networks_become_small() -> None:
    model = models.build("resnet20", input_shape=(3, 32, 32), classes=10, seed=0)
    masks = mica.sparsify(model, "rpi-igq", 10**2.5, 0, input_shape=(3, 32, 32))
    graph = mica.trace(model, (3, 32, 32))
    compact = mica.compact(model, masks, graph)
    assert mica.functional(graph, masks).kept <= compact.masks.kept < masks.kept


def test_what_is_dropped_keeps_its_value_when_the_rest_is_scattered_back() -> None:
    shape = (3, 16, 16)
    model = models.build("resnet20", input_shape=shape, classes=10, seed=0).double()
    masks = mica.sparsify(model, "mica-igq", 100, 0, input_shape=shape)
    compact, trained = compare(model, masks, shape, steps=3)
    mica.apply(model, masks)
    before = {name: value.clone() for name, value in state(model).items()}
    compact.scatter(state(compact.model), model.state_dict())
    torch.testing.assert_close(part_of(state(model), compact), part_of(state(trained), compact), **CLOSE)
    for name, value in state(model).items():
        inside = torch.zeros(value.shape, dtype=torch.bool)
        part = part_of({name: value}, compact)[name]
        compact.scatter({name: torch.ones_like(part, dtype=torch.bool)}, {name: inside})
        assert torch.equal(value[~inside], before[name][~inside]), name


def test_the_given_network_is_not_touched() -> None:
    model = models.build("mlp", input_shape=(1, 8, 8), classes=10, seed=0)
    before = copy.deepcopy(state(model))
    masks = mica.sparsify(model, "mica-erk", 30, 0, input_shape=(1, 8, 8))
    compact = mica.compact(model, masks, mica.trace(model, (1, 8, 8)))
    train(
        compact.model, compact.masks, torch.randn(1, 5, 1, 8, 8), torch.zeros(1, 5, dtype=torch.long), 2, 0.1
    )
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())


def test_a_network_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build("resnet20", input_shape=(3, 16, 16), classes=10, seed=0)
    graph = mica.trace(model, (3, 16, 16))
    masks = mica.sparsify(model, "mica-igq", 100, 0, graph=graph)
    monkeypatch.setattr(tracing._Tracer, "trace", lambda *_: pytest.fail("traced again"))
    assert mica.compact(model, masks, graph).masks.kept == masks.kept


def test_a_graph_that_went_through_pickle_is_the_same_graph() -> None:
    torch.manual_seed(0)
    shape = (3, 16, 16)
    model = models.build("resnet20", input_shape=shape, classes=10, seed=0).eval()
    graph = mica.trace(model, shape)
    again = pickle.loads(pickle.dumps(graph))
    assert again == graph and graph.traced is not None and again.traced is None
    assert "traced" not in repr(graph)
    masks = mica.sparsify(model, "mica-igq", 100, 0, graph=graph)
    images = torch.randn(2, *shape)
    one, other = (mica.compact(model, masks, each).model(images) for each in (graph, again))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["1.bias", "1.running_mean"])
def test_a_channel_goes_only_if_it_is_zero_with_the_model_s_values_and_with_the_trained_ones(
    name: str,
) -> None:
    layers = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)]
    model = nn.Sequential(*layers)
    graph = mica.trace(model, (1, 4, 4))
    masks = mica.Masks({layer: torch.ones(shape) > 0 for layer, shape in graph.shapes.items()})
    masks["0"][1] = False
    still = {key: value.clone() for key, value in state(model).items()}
    moved = {**still, name: torch.tensor([0.0, 0.5, 0.0, 0.0])}

    def width(of: dict[str, Tensor], trained: dict[str, Tensor] | None) -> int:
        model.load_state_dict(of)
        return mica.compact(model, masks, graph, trained).model.get_submodule("0").out_channels

    assert width(still, None) == width(still, still) == 3
    assert width(moved, None) == width(moved, still) == width(still, moved) == 4
