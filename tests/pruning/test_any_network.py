"""Networks that the core has never heard of: torchvision's and a plain MLP, with every method."""

import copy
import functools
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

import mica
from tests.oracle.gradient import functional_by_gradient

METHODS = [
    "rpi-erk", "rpi-igq", "rpi-uniform", "rpi-uniform-plus", "rpi-epl",
    "mica-erk", "mica-igq", "mica-uniform", "mica-uniform-plus", "mica-epl",
    "rbpi-snip", "rbpi-grasp", "rbpi-magnitude", "snip-erk", "rpi-snip", "mica-grasp", "magnitude-igq",
    "phew-erk", "edge_addition-igq", "resampling-erk", "rpi-pyramid", "mica-smart-ratio", "rbpi-lamp",
    "rbpi-small_dense", "rbpi-iterative_snip(iterations=3)", "rbpi-force(iterations=3)",
    "npb-erk", "mica(focus=2)-erk", "mica(fan_in=3)-igq", "mica(spread=true)-erk", "force(iterations=2)-erk",
    "rbpi-px(iterations=4)", "rbpi-ntk_sap(iterations=1)", "mica(fan_in=1)-staged",
    "rpi-power(classifier=0.1,first=0.2)", "mica(fan_in=1,focus=4,distinct=true)-igq",
]  # fmt: skip
SOME = ["rpi-igq", "rpi-uniform-plus", "mica-erk", "mica-epl", "rbpi-snip", "rbpi-grasp", "magnitude-igq"]
"""For the two networks that take longest; the other two are pruned with every method."""
NAMES = ["resnet18", "vgg11_bn", "densenet121", "mlp"]
OWN = ["vgg16", "resnet20"]
"""The paper's, which other tests look at more closely."""
PRUNABLE = {"resnet18": 21, "vgg11_bn": 11, "densenet121": 121, "mlp": 3}
SPARSE = {"resnet18": 300.0, "vgg11_bn": 100.0, "densenet121": 100.0, "mlp": 80.0}
"""A ratio at which random pruning loses some edges."""


@functools.cache
def network(name: str) -> nn.Module:
    if name in OWN:
        return mica.models.build(name, input_shape=shape(name), classes=10, seed=0)
    torch.manual_seed(0)
    if name == "mlp":
        parts = [nn.Flatten(), nn.Linear(300, 60), nn.ReLU(), nn.Dropout(), nn.Linear(60, 30), nn.ReLU()]
        return nn.Sequential(*parts, nn.Linear(30, 10))
    models = torchvision.models
    if name == "vgg11_bn":
        # Its classifier, 120 of 129 million weights, is the same three layers here at a width of 32.
        with torch.device("meta"):
            vgg = models.vgg11_bn(weights=None, num_classes=10, init_weights=False)
        head = vgg.classifier
        head[0], head[3], head[6] = nn.Linear(512 * 49, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        return vgg.to_empty(device="cpu").apply(_reset)
    return getattr(models, name)(weights=None, num_classes=10)


def _reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


@functools.cache
def graph(name: str) -> mica.LayerGraph:
    return mica.trace(network(name), shape(name))


def shape(name: str) -> tuple[int, ...]:
    return {"mlp": (3, 10, 10)}.get(name, (3, 32, 32))


def data(name: str) -> tuple[Tensor, Tensor]:
    return torch.randn(2, *shape(name), generator=torch.Generator().manual_seed(0)), torch.arange(2)


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


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, method) for name in ("resnet18", "mlp", *OWN) for method in METHODS]
    + [(name, method) for name in ("vgg11_bn", "densenet121") for method in SOME],
)
def test_every_method_prunes_it_to_its_budget(name: str, method: str) -> None:
    masks = prune(name, method, 20.0)
    total = sum(layer.edges for layer in graph(name).layers.values())
    assert masks.total == total
    assert abs(masks.kept - total / 20) <= len(masks) + 1
    assert all(masks[path].shape == layer.shape for path, layer in graph(name).layers.items())
    if method not in ("rbpi-magnitude", "rpi-pyramid"):  # which empty the last layer
        assert mica.functional(graph(name), masks).kept > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_s_mask_is_the_same_every_time(method: str) -> None:
    model, ratio, images = network("resnet20"), 20.0, data("resnet20")
    for seed in (0, 7):
        made = [mica.sparsify(model, method, ratio, seed, graph=graph("resnet20"), data=images) for _ in "ab"]
        assert made[0].digest() == made[1].digest()


def test_synflow_prunes_the_mlp() -> None:
    masks = prune("mlp", "rbpi-synflow", 300.0)
    assert masks.kept == 20_100 - math.floor(20_100 * (1 - 1 / 300))
    assert mica.functional(graph("mlp"), masks).kept > 0.9 * masks.kept


@pytest.mark.parametrize("method", ["rbpi-synflow", "rpi-synflow", "mica-synflow"])
def test_synflow_prunes_a_small_densenet_of_torchvisions(method: str) -> None:
    kind = torchvision.models.DenseNet
    torch.manual_seed(0)
    model = kind(growth_rate=4, block_config=(2, 2, 2), num_init_features=8, num_classes=10)
    masks = mica.sparsify(model, method, 30, 0, input_shape=(3, 32, 32))
    assert abs(masks.kept - masks.total / 30) <= 1
    if method != "rpi-synflow":
        assert mica.functional(mica.trace(model, (3, 32, 32)), masks).kept > 0.9 * masks.kept


@pytest.mark.parametrize("method", ["rpi-erk", "mica-igq"])
@pytest.mark.parametrize("name", NAMES)
def test_its_functional_edges_are_those_of_the_gradient_definition(name: str, method: str) -> None:
    masks = prune(name, method, SPARSE[name])
    wanted = functional_by_gradient(network(name), masks, shape(name))
    found = mica.functional(graph(name), masks)
    assert all(torch.equal(found[path], wanted[path]) for path in masks)
    if method.startswith("rpi"):
        assert 0 < found.kept < masks.kept


@pytest.mark.parametrize("name", NAMES)
def test_the_pruned_network_runs_with_exactly_the_kept_weights(name: str) -> None:
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
