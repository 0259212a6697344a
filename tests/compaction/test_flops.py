"""FLOPs of the small network, counted against what the small network's layers do in a forward pass."""

import pytest
import torch
from torch import Tensor, nn

import mica
from mica import models
from mica.compaction.flops import compact_flops
from mica.errors import TraceError
from tests.oracle.networks import random_masks, random_network


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def counted(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Two for each weight that makes an output, at each output: what one image costs."""
    found = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal found
        found += 2 * output.numel() * layer.weight[0].numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, *shape))
    return found


def by_building(model: nn.Module, masks: mica.Masks, shape: tuple[int, ...]) -> int | None:
    try:
        return counted(mica.compact(model, masks, mica.trace(model, shape)).model, shape)
    except TraceError:
        return None


@pytest.mark.parametrize("seed", range(80))
def test_random_networks_and_masks(seed: int) -> None:
    torch.manual_seed(seed)
    net = random_network(seed)
    masks = mica.Masks(random_masks(net, seed))
    graph = mica.trace(net, net.input_shape)
    assert compact_flops(graph, net, masks) == by_building(net, masks, net.input_shape)


@pytest.mark.parametrize("method", ["mica-igq", "rpi-igq", "rpi-erk"])
@pytest.mark.parametrize("name", ["vgg11", "resnet20", "mlp"])
def test_the_papers_networks(name: str, method: str) -> None:
    shape = (3, 16, 16)
    model = models.build(name, input_shape=shape, classes=10, seed=0)
    graph = mica.trace(model, shape)
    for log10_ratio in (0.5, 2, 5):  # at the last, rpi-erk collapses
        masks = mica.sparsify(model, method, 10**log10_ratio, 0, graph=graph)
        found = compact_flops(graph, model, masks)
        assert found == by_building(model, masks, shape)
        assert found is not None and found <= graph.flops()


def test_a_dense_mask_costs_what_the_network_costs() -> None:
    model = models.build("resnet20", input_shape=(3, 16, 16), classes=10, seed=0)
    graph = mica.trace(model, (3, 16, 16))
    dense = mica.Masks({name: torch.ones(shape, dtype=torch.bool) for name, shape in graph.shapes.items()})
    assert compact_flops(graph, model, dense) == graph.flops()


def test_an_example_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3))
    graph = mica.trace(model, (2, 5, 5))
    conv, linear = torch.zeros(4, 2, 3, 3, dtype=torch.bool), torch.zeros(3, 36, dtype=torch.bool)
    conv[1, 0, 0, 0] = conv[2, 1, 1, 1] = True
    linear[0, 9] = linear[0, 0] = True  # channel 1, and channel 0, which is never anything but 0
    found = compact_flops(graph, model, mica.Masks({"0": conv, "3": linear}))
    # Channel 1 alone stays: 1 × 2 × 3 × 3 weights at 3 × 3 pixels, then 3 × 9 weights.
    assert found == 2 * 18 * 9 + 2 * 27


class _UsesOneNormTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(x)))).mean([2, 3])


@pytest.mark.parametrize("model", [
    nn.Sequential(nn.Conv2d(3, 4, 1), nn.AlphaDropout(), nn.Flatten(), nn.Linear(64, 2)), _UsesOneNormTwice(),
])  # fmt: skip
def test_there_is_no_number_where_there_is_no_small_network(model: nn.Module) -> None:
    graph = mica.trace(model, (3, 4, 4))
    masks = mica.sparsify(model, "rpi-uniform", 2, 0, graph=graph)
    assert by_building(model, masks, (3, 4, 4)) is None
    assert compact_flops(graph, model, masks) is None
