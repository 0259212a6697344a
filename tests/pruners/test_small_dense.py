"""Small dense: what is kept is the network with fewer channels, whole."""

import pytest
from torch import nn

import mica
from mica.models import build, models

SHAPE = (3, 8, 8)


def network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, 5),
    )  # fmt: skip


@pytest.mark.parametrize("width", [1, 3, 4, 7])
def test_it_is_the_narrower_network(width: int) -> None:
    narrow = mica.trace(network(width), SHAPE)
    wide = mica.trace(network(8), SHAPE)
    ratio = wide.edges / narrow.edges
    masks = mica.sparsify(network(8), "rbpi-small_dense", ratio, 0, graph=wide, rounding="exact")
    for name, (outputs, inputs, *_) in narrow.shapes.items():
        assert masks[name][:outputs, :inputs].all()
        assert int(masks[name].sum()) == narrow.layers[name].edges


@pytest.mark.parametrize(
    ("name", "log10_ratio"),
    [(name, ratio) for name in ("vgg16", "mobilenet") for ratio in (0.5, 1.5, 2.5, 3.5)]
    + [(name, ratio) for name in ("resnet20", "plain20") for ratio in (0.5, 1.5, 2.0)],
)
def test_almost_all_edges_function_whatever_the_budget(name: str, log10_ratio: float) -> None:
    model = build(models.choose(name), input_shape=(3, 32, 32), classes=10, seed=0)
    graph = mica.trace(model, (3, 32, 32))
    masks = mica.sparsify(model, "rbpi-small_dense", 10**log10_ratio, 0, graph=graph)
    assert mica.functional(graph, masks).kept > 0.98 * masks.kept


def test_a_residual_network_loses_the_same_channels_in_every_branch_of_a_sum() -> None:
    model = build(models.choose("resnet20"), input_shape=(3, 32, 32), classes=10, seed=0)
    graph = mica.trace(model, (3, 32, 32))
    masks = mica.sparsify(model, "rbpi-small_dense", 16.0, 0, graph=graph)
    used = [int(mask.flatten(1).any(1).sum()) for mask in masks.values()]
    assert max(used[:7]) <= min(used[:7]) + 1  # the first stage's layers, all 16 channels wide
    assert used[-1] == 10
