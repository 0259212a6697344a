"""Masked, compact and edge-wise training agree in float64: step by step from a common state, and in a row."""

import copy
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica import models
from mica.data import datasets
from mica.edgewise import Edgewise, edgewise, substitution
from mica.training.images import image_set
from tests.compaction.test_compact import draws_dropout_by_function, part_of
from tests.oracle.networks import random_masks, random_network

STEPS = 20


@pytest.fixture(autouse=True)
def every_convolution_edge_by_edge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(substitution, "_DENSE_SPEED", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Side:
    """One form of the network in training; its state is read and written in the compact one's shapes."""

    def __init__(self, small: mica.Compact, sparse: Edgewise | None, lr: float) -> None:
        self.small, self.sparse = small, sparse
        self.network = sparse.model if sparse else small.model
        mica.apply(self.network, sparse.masks if sparse else small.masks)
        self.sgd = torch.optim.SGD(
            self.network.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=1e-3
        )
        self.network.train()

    def parameters(self) -> dict[str, tuple[nn.Parameter, slice, Callable[[Tensor], Tensor]]]:
        """Compact name → the parameter, where in it, and what of a tensor of the compact shape is there."""
        found: dict[str, tuple[nn.Parameter, slice, Callable[[Tensor], Tensor]]] = {}
        for name, parameter in self.small.model.named_parameters():
            found[name] = (parameter, slice(None), lambda full: full)
        for chain in self.sparse.chains if self.sparse else ():
            for name, places in chain.program.parameters.items():
                mask = self.small.masks.get(name.removesuffix(".weight"))
                found[name] = (
                    chain.values,
                    places,
                    lambda full, mask=mask: full if mask is None else full[mask],
                )
        return found

    def buffers(self) -> dict[str, Tensor]:
        found = dict(self.small.model.named_buffers())
        for chain in self.sparse.chains if self.sparse else ():
            for number, (name, places) in enumerate(chain.program.statistics.items()):
                found[f"{name}.running_mean"], found[f"{name}.running_var"] = chain.tracked[:, places]
                found[f"{name}.num_batches_tracked"] = chain.batches[number]
        return found

    def start_from(self, state: dict[str, Tensor], momentum: dict[str, Tensor]) -> None:
        for name, buffer in self.buffers().items():
            if name in state:
                buffer.copy_(state[name])
        for name, (parameter, where, part) in self.parameters().items():
            parameter.data[where] = part(state[name])
            buffers = self.sgd.state[parameter]
            buffers.setdefault("momentum_buffer", torch.zeros_like(parameter))[where] = part(momentum[name])

    def step(self, number: int, images: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(number)  # dropout draws the same for all
        loss = F.cross_entropy(self.network(images), labels)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        return loss.detach()

    def compare(self, state: dict[str, Tensor], momentum: dict[str, Tensor], close: float) -> None:
        for name, buffer in self.buffers().items():
            if name in state:
                assert_close(buffer, state[name], close, name)
        for name, (parameter, where, part) in self.parameters().items():
            assert_close(parameter.detach()[where], part(state[name]), close, name)
            if parameter[where].numel():
                found = self.sgd.state[parameter]["momentum_buffer"][where]
                assert_close(found, part(momentum[name]), close, name)


def assert_close(found: Tensor, wanted: Tensor, close: float, name: str) -> None:
    """Relative to the tensor's largest entry."""
    size = float(wanted.abs().max()) if wanted.numel() else 0.0
    torch.testing.assert_close(found, wanted, rtol=0, atol=close * size + 1e-13, msg=lambda m: f"{name}: {m}")


def check(model: nn.Module, masks: mica.Masks, shape: tuple[int, ...], batch: int, lr: float) -> int:
    """Train the masked network, and the others from its state; returns how many layers are edge-wise."""
    images = torch.randn(3, batch, *shape, dtype=torch.float64)
    graph = mica.trace(model, shape)
    full, smalls = copy.deepcopy(model), [mica.compact(model, masks, graph) for _ in range(2)]
    labels = torch.randint(full.eval()(images[0]).shape[1], (3, batch))
    mica.apply(full, masks)
    full.train()
    sgd = torch.optim.SGD(full.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=1e-3)
    sparse = edgewise(smalls[1])
    sides = [Side(smalls[0], None, lr), *([Side(smalls[1], sparse, lr)] if sparse else [])]

    def gather(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return part_of(tensors, smalls[0])

    def momentum() -> dict[str, Tensor]:
        named = full.named_parameters()
        return {n: sgd.state[p].get("momentum_buffer", torch.zeros_like(p)) for n, p in named}

    state = gather(full.state_dict()), gather(momentum())
    for number in range(STEPS):
        for side in sides:
            side.start_from(*state)
        at = (images[number % 3], labels[number % 3])
        torch.manual_seed(number)
        loss = F.cross_entropy(full(at[0]), at[1])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        state = gather(full.state_dict()), gather(momentum())
        for side in sides:
            torch.testing.assert_close(side.step(number, *at), loss.detach(), rtol=1e-9, atol=0)
            side.compare(*state, close=1e-9)
    return len(small_layers(sparse)) if sparse else 0


def small_layers(sparse: Edgewise) -> list[str]:
    """Those that are computed edge by edge."""
    return [name for name in sparse.small.masks if name not in sparse.masks]


def compactable(seed: int) -> bool:
    return not draws_dropout_by_function(random_network(seed))


@pytest.mark.parametrize("seed", [seed for seed in range(44) if compactable(seed)])
def test_every_step_of_a_random_network_from_a_common_state(seed: int) -> None:
    torch.manual_seed(seed)
    net = random_network(seed).double()
    for module in net.modules():
        # A dead channel's bias is a constant, which batch norm turns into its shift, but for rounding: with a
        # shift of 0, ReLU's gradient there would be a matter of luck.
        if seed % 2 and isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
        elif seed % 2 == 0 and isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    check(net, mica.Masks(random_masks(net, seed)), net.input_shape, batch=5, lr=0.05)


@pytest.mark.parametrize("method", ["mica-igq", "rpi-erk", "rbpi-magnitude"])
@pytest.mark.parametrize("name", ["vgg11", "resnet20"])
def test_every_step_of_the_papers_networks_from_a_common_state(name: str, method: str) -> None:
    shape = (3, 16, 16)
    model = models.build(name, input_shape=shape, classes=10, seed=0).double()
    masks = mica.sparsify(model, method, 10**2.5, 0, input_shape=shape)
    assert check(model, masks, shape, batch=16, lr=0.05) == len(masks)


@pytest.mark.parametrize("method", ["mica-igq", "rpi-igq"])
def test_all_forms_answer_alike_on_real_images(method: str) -> None:
    digits = datasets.get("digits")().load()
    images = image_set(digits, "test", np.arange(60), enlarge=2).normalised(slice(None)).double()
    shape = tuple(images.shape[1:])
    model = models.build("vgg11", input_shape=shape, classes=10, seed=0).double()
    masks = mica.sparsify(model, method, 10**2.5, 0, input_shape=shape)
    with torch.no_grad():
        model(images)  # running statistics of some training
        small = mica.compact(model, masks, mica.trace(model, shape))
        mica.apply(small.model, small.masks)
        sparse = edgewise(small)
        assert sparse is not None
        mica.apply(sparse.model, sparse.masks)
        mica.apply(model, masks)
        answers = [network.eval()(images) for network in (model, small.model, sparse.model)]
    for found in answers[1:]:
        assert_close(found, answers[0], 1e-9, method)
    assert answers[0].std() > 0


class Misnamed(nn.Module):
    """Its `relu` is none, and overwrites what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.relu, self.second = nn.LeakyReLU(0.3, inplace=True), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.head(self.second(x).mean((2, 3)))


def test_a_module_is_what_it_is_and_not_what_it_is_called() -> None:
    torch.manual_seed(0)
    model, shape = Misnamed().double(), (3, 8, 8)
    masks = mica.sparsify(model, "rpi-uniform", 2, 0, input_shape=shape)
    assert check(model, masks, shape, batch=5, lr=0.05) == 3


class Headed(nn.Module):
    """Two convolutions, and one of several ways to end a network."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.second, self.skip = nn.Conv2d(6, 6, 3, padding=1), nn.Identity()
        self.pool, self.flat, self.drop = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3)
        self.head, self.linear = head, nn.Linear(6, 4, bias=head != "no bias")

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        x = (self.second(x) + self.skip(x)).relu()
        if self.head == "function":
            return self.linear(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))
        if self.head == "mean":
            return self.linear(x.mean([2, 3]))
        if self.head == "mean of kept":
            return self.linear(torch.flatten(x.mean(dim=(-2, -1), keepdim=True), 1))
        if self.head == "dropout":
            return self.linear(self.drop(self.flat(self.pool(x))))
        if self.head == "behind":
            return F.relu(self.linear(self.flat(self.pool(x))))
        return self.linear(self.flat(self.pool(x)))


@pytest.mark.parametrize(
    "head", ["module", "no bias", "function", "mean", "mean of kept", "dropout", "behind"]
)
def test_how_a_network_ends(head: str) -> None:
    torch.manual_seed(0)
    model, shape = Headed(head).double(), (3, 8, 8)
    masks = mica.sparsify(model, "rpi-uniform", 2, 0, input_shape=shape)
    whole = head not in ("dropout", "behind")
    sparse = edgewise(mica.compact(model, masks, mica.trace(model, shape)))
    assert sparse is not None and sparse.whole == whole
    assert check(model, masks, shape, batch=5, lr=0.05) == 2 + whole


def test_without_numba_there_is_nothing_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build("resnet20", input_shape=(3, 16, 16), classes=10, seed=0)
    masks = mica.sparsify(model, "mica-igq", 100, 0, input_shape=(3, 16, 16))
    small = mica.compact(model, masks, mica.trace(model, (3, 16, 16)))
    assert edgewise(small) is not None
    monkeypatch.setitem(sys.modules, "mica.edgewise.chain", None)
    assert edgewise(small) is None
