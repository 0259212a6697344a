"""Functional edges and nodes against the path oracle, over hundreds of random networks (design 4.2)."""

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.graph.reachability import functional_node_share
from tests.oracle.networks import OracleNet, random_masks, random_network
from tests.oracle.paths import functional_edges, node_share

SEEDS = range(312)


def edges_of(masks) -> set[tuple]:
    return {(name, *index) for name, mask in masks.items() for index in map(tuple, mask.nonzero().tolist())}


def check(net: OracleNet, masks: dict[str, Tensor]) -> None:
    graph = mica.trace(net, net.input_shape)
    assert {name: tuple(layer.shape) for name, layer in graph.layers.items()} == net.weights()
    found = mica.functional(graph, mica.Masks(masks))
    assert edges_of(found) == functional_edges(net, masks)
    again = mica.functional(graph, found)
    assert all(torch.equal(again[name], found[name]) for name in found)
    share = functional_node_share(graph, mica.Masks(masks))
    assert share == pytest.approx(node_share(net, masks), abs=1e-12)


@pytest.mark.parametrize("block", range(12))
def test_functional_edges_are_those_on_a_path_of_single_units(block: int) -> None:
    for seed in SEEDS[block::12]:
        net = random_network(seed)
        try:
            check(net, random_masks(net, seed))
        except Exception as error:
            error.add_note(f"random network {seed}")
            raise


def test_a_dense_network_without_dead_borders_is_wholly_functional() -> None:
    net = OracleNet((2, 5, 5))
    net.linear(net.mean(net.relu(net.conv(net.conv(0, 3, padding=1), 4, padding=1))), 3)
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in net.weights().items()}
    found = mica.functional(mica.trace(net, net.input_shape), mica.Masks(masks))
    assert found.kept == found.total == 2 * 3 * 9 + 3 * 4 * 9 + 12


def test_kernel_positions_that_only_see_padding_are_not_functional() -> None:
    net = OracleNet((1, 1, 1))
    net.flatten(net.conv(0, 2, padding=1))
    masks = mica.Masks({"steps.conv1": torch.ones(2, 1, 3, 3, dtype=torch.bool)})
    graph = mica.trace(net, net.input_shape)
    found = edges_of(mica.functional(graph, masks))
    assert found == {("steps.conv1", 0, 0, 1, 1), ("steps.conv1", 1, 0, 1, 1)}
    assert functional_node_share(graph, masks) == 1.0


def test_a_stride_can_cut_a_path_that_channels_alone_would_call_open() -> None:
    """Two 1-pixel shifts push a 2×2 image out of its frame."""
    net = OracleNet((1, 2, 2))
    net.flatten(net.conv(net.conv(0, 1, padding=1), 1, padding=1))
    shift = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    shift[0, 0, 0, 0] = True
    masks = mica.Masks({"steps.conv1": shift, "steps.conv2": shift.clone()})
    graph = mica.trace(net, net.input_shape)
    assert mica.functional(graph, masks).kept == 0
    assert functional_node_share(graph, masks) is not None


def test_biases_and_shifts_are_no_sources_of_signal() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    nn.init.ones_(model[0].bias)
    nn.init.ones_(model[1].bias)
    masks = {"0": torch.zeros(2, 1, 1, 1, dtype=torch.bool), "4": torch.ones(3, 8, dtype=torch.bool)}
    assert mica.functional(mica.trace(model, (1, 2, 2)), mica.Masks(masks)).kept == 0


def test_the_node_share_of_a_collapsed_mask_counts_what_signal_still_reaches() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    graph = mica.trace(model, (3,))
    empty = mica.Masks({"0": torch.zeros(2, 3, dtype=torch.bool), "2": torch.zeros(2, 2, dtype=torch.bool)})
    assert functional_node_share(graph, empty) == 0.0
    half = mica.Masks({"0": torch.tensor([[True, False, False]] * 2), "2": torch.tensor([[True, False]] * 2)})
    assert functional_node_share(graph, half) == pytest.approx(2 / 4)


def test_a_deep_network_does_not_leave_the_range_of_floats() -> None:
    convs = [nn.Conv2d(8 if i else 3, 8, 3, padding=1) for i in range(150)]
    model = nn.Sequential(*convs, nn.Flatten(), nn.Linear(288, 4))
    graph = mica.trace(model, (3, 6, 6))
    masks = mica.Masks({n: torch.ones(layer.shape, dtype=torch.bool) for n, layer in graph.layers.items()})
    assert mica.functional(graph, masks).kept == masks.total


def test_weights_flags_and_modes_are_the_same_after_a_trace() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mica.trace(model, (3, 6, 6))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, False, True, True, True]
