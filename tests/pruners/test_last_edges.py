"""MiCA where there is hardly an edge a layer: all of them functional, a path to as many classes as can be."""

import pytest

import mica
from mica.graph.reachability import live_outputs
from mica.trial.inspection import inspect
from tests.oracle.networks import random_network
from tests.oracle.paths import functional_edges


@pytest.fixture(scope="module")
def vgg16():
    model = mica.models.build("vgg16", input_shape=(3, 32, 32), classes=10, seed=0)
    return model, mica.trace(model, (3, 32, 32))


@pytest.mark.parametrize("log", [5.0, 5.5, 5.8, 6.0])
@pytest.mark.parametrize("rule", ["igq", "erk", "power(classifier=0.3)"])
@pytest.mark.parametrize("pruner", ["mica", "mica(node_counts=min)", "mica(node_counts=max,focus=4)"])
def test_vgg16_reaches_a_class_for_each_of_the_classifier_s_edges(pruner, rule, log, vgg16) -> None:
    model, graph = vgg16
    for seed in range(3):
        masks = mica.sparsify(model, f"{pruner}-{rule}", 10**log, seed, graph=graph, rounding="exact")
        counts = list(masks.counts().values())
        assert masks.kept == round(graph.edges / 10**log)
        assert mica.functional(graph, masks).kept == masks.kept
        assert len(live_outputs(graph, masks)) == min(10, counts[-1])


def test_the_record_says_which_classes_have_a_path(vgg16) -> None:
    model, graph = vgg16
    masks = mica.sparsify(model, "mica-igq", 10**6, 0, graph=graph, rounding="exact")
    summary, _ = inspect(graph, model, masks)
    classifier = masks[next(reversed(graph.layers))]
    with_edge = classifier.any(dim=1).nonzero().flatten().tolist()
    assert summary.edges_functional == summary.edges_placed == 15
    assert list(summary.outputs_reached) == with_edge and len(with_edge) == int(classifier.sum())


@pytest.mark.parametrize("seed", range(40))
def test_outputs_reached_are_those_of_the_paths_that_can_be_enumerated(seed: int) -> None:
    net = random_network(seed)
    graph = mica.trace(net, net.input_shape)
    masks = mica.sparsify(net, "rpi-uniform", 3, seed, graph=graph)
    one = {name: mask.clone() for name, mask in masks.items()}
    last = list(graph.layers)[-1]
    paths = functional_edges(net, one)
    reached = {edge[1] for edge in paths if edge[0] == last}
    if graph.ops[-1].inputs == (len(graph.ops) - 2,) and graph.ops[-2].name == last:
        assert set(live_outputs(graph, masks)) == reached
