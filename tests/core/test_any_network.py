"""Networks that the core has never heard of: torchvision's and a plain MLP, with every method."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.torchvision_import import import_torchvision
from tests.oracle.gradient import functional_by_gradient

METHODS = [
    "rpi-erk", "rpi-igq", "rpi-uniform", "rpi-uniform-plus", "rpi-epl",
    "mica-erk", "mica-igq", "mica-uniform", "mica-uniform-plus", "mica-epl",
    "rbpi-snip", "rbpi-grasp", "rbpi-magnitude", "snip-erk", "rpi-snip", "mica-grasp", "magnitude-igq",
]  # fmt: skip
NAMES = ["resnet18", "vgg11_bn", "densenet121", "mlp"]
PRUNABLE = {"resnet18": 21, "vgg11_bn": 11, "densenet121": 121, "mlp": 3}


@functools.cache
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "mlp":
        parts = [nn.Flatten(), nn.Linear(300, 60), nn.ReLU(), nn.Dropout(), nn.Linear(60, 30), nn.Tanh()]
        return nn.Sequential(*parts, nn.Linear(30, 10))
    return getattr(import_torchvision().models, name)(weights=None, num_classes=10)


@functools.cache
def graph(name: str) -> mica.graph.LayerGraph:
    return mica.trace(network(name), shape(name))


def shape(name: str) -> tuple[int, ...]:
    return {"mlp": (3, 10, 10)}.get(name, (3, 32, 32))


def data(name: str) -> tuple[Tensor, Tensor]:
    return torch.randn(4, *shape(name), generator=torch.Generator().manual_seed(0)), torch.arange(4)


@functools.cache
def prune(name: str, method: str, ratio: float) -> mica.Masks:
    return mica.sparsify(network(name), method, ratio, 0, input_shape=shape(name), graph=graph(name),
                         data=data(name))  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_conv_and_linear_layer_is_found(name: str) -> None:
    kinds = (nn.Conv2d, nn.Linear)
    modules = {path: part for path, part in network(name).named_modules() if isinstance(part, kinds)}
    found = graph(name).layers
    assert {path: tuple(part.weight.shape) for path, part in modules.items()} == {
        path: tuple(layer.shape) for path, layer in found.items()
    }
    assert len(found) == PRUNABLE[name]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_every_method_prunes_it_to_its_budget(name: str, method: str) -> None:
    masks = prune(name, method, 20.0)
    total = sum(layer.edges for layer in graph(name).layers.values())
    assert masks.total == total
    assert abs(masks.kept - total / 20) <= len(masks) + 1
    assert all(masks[path].shape == layer.shape for path, layer in graph(name).layers.items())
    assert 0 < mica.functional(graph(name), masks).kept <= masks.kept


@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_synflow_prunes_it(name: str) -> None:
    masks = prune(name, "rbpi-synflow", 300.0)
    assert abs(masks.kept - masks.total / 300) <= 1
    assert mica.functional(graph(name), masks).kept > 0.9 * masks.kept


@pytest.mark.parametrize("method", ["rpi-erk", "rpi-igq", "mica-erk"])
@pytest.mark.parametrize("name", NAMES)
def test_its_functional_edges_are_those_of_the_gradient_definition(name: str, method: str) -> None:
    masks = prune(name, method, 200.0 if name != "mlp" else 8.0)
    wanted = functional_by_gradient(network(name), masks, shape(name))
    found = mica.functional(graph(name), masks)
    assert all(torch.equal(found[path], wanted[path]) for path in masks)
    if method.startswith("rpi"):
        assert 0 < found.kept < masks.kept


@pytest.mark.parametrize("name", NAMES)
def test_edges_without_function_change_no_gradient_sign_and_the_pruned_network_runs(name: str) -> None:
    model = copy.deepcopy(network(name)).eval()
    masks = prune(name, "mica-igq", 20.0)
    mica.apply(model, masks)
    images, _ = data(name)
    assert model(images).isfinite().all()
    for path, mask in masks.items():
        assert torch.equal(model.get_submodule(path).weight != 0, mask)


@pytest.mark.parametrize("name", NAMES)
def test_mica_makes_nearly_all_edges_functional(name: str) -> None:
    masks = prune(name, "mica-erk", 20.0)
    assert mica.functional(graph(name), masks).kept >= 0.99 * masks.kept
