"""Fewer edges than layers, against answers worked out by hand."""

import pytest

from mica.graph.tracing import trace
from mica.models import build
from mica.pruning.scarcity import scarcity, shortest_path
from mica.pruning.sparsify import sparsify


@pytest.mark.parametrize(("model", "layers"), [("vgg16", 14), ("resnet20", 4), ("mlp", 3)])
def test_the_shortest_path(model: str, layers: int) -> None:
    """A residual network's runs over its shortcuts: the stem, two 1×1 convolutions and the last layer."""
    graph = trace(build(model, input_shape=(3, 32, 32), classes=10, seed=0), (3, 32, 32))
    assert shortest_path(graph) == layers


def test_what_is_left_of_vgg16() -> None:
    graph = trace(build("vgg16", input_shape=(3, 32, 32), classes=10, seed=0), (3, 32, 32))
    assert scarcity(graph, 10**6) is None  # 15 edges
    assert str(scarcity(graph, 10**6.5)) == "5 edges for 14 layers: everything collapses"


def test_of_a_residual_network_a_path_may_be_left() -> None:
    model = build("resnet20", input_shape=(3, 32, 32), classes=10, seed=0)
    graph = trace(model, (3, 32, 32))
    assert scarcity(graph, 10**4) is None  # 28 edges
    assert str(scarcity(graph, 10**4.5)) == "9 edges for 22 layers: some layers stay empty"
    assert str(scarcity(graph, 10**5)) == "3 edges for 22 layers: everything collapses"
    assert str(scarcity(graph, 10**6, "exact")) == "0 edges for 22 layers: everything collapses"


def test_what_is_said_to_collapse_does() -> None:
    model = build("mlp", input_shape=(1, 8, 8), classes=10, seed=0)
    graph = trace(model, (1, 8, 8))
    few = scarcity(graph, 10**4.5)
    assert few is not None and few.collapses
    for method in ("mica-igq", "mica-epl", "rbpi-synflow", "rbpi-magnitude"):
        masks = sparsify(model, method, 10**4.5, 0, graph=graph)
        assert min(masks.counts().values()) == 0, method
