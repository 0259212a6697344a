"""The paper's networks: sizes, shapes, initial weights, seeds (design 4.6; paper section 4.2)."""

import math

import pytest
import torch
from torch import nn

import mica
from mica.errors import UnknownName, UserError
from mica.models import build, models

IMAGE = (3, 32, 32)


def make(name: str, seed: int = 0, shape: tuple[int, ...] = IMAGE, classes: int = 10, **options) -> nn.Module:
    chosen = models.choose({"name": name, **options} if options else name)
    return build(chosen, input_shape=shape, classes=classes, seed=seed)


def prunable(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


@pytest.mark.parametrize(("name", "layers", "edges"), [
    ("vgg16", 14, 14_715_584),
    ("vgg11", 9, 9_222_848),
    ("resnet20", 22, 270_896),
    # Two more blocks a stage: 2 · 2 · (2,304 + 9,216 + 36,864) = 193,536 edges each time.
    ("resnet32", 34, 270_896 + 193_536),
    ("resnet56", 58, 270_896 + 3 * 193_536),
    # Without the two 1×1 shortcuts of 512 and 2,048 edges.
    ("plain20", 20, 268_336),
    ("plain56", 56, 268_336 + 3 * 193_536),
    ("resnet", 22, 270_896),
    ("resnet(skips=false)", 20, 268_336),
    # 27·8; twice 8·8·9; 8·16·9 + 16·16·9; 16·32·9 + 32·32·9; 32·10.
    ("resnet(depth=8,width=8,skips=false)", 8, 216 + 1_152 + 3_456 + 13_824 + 320),
    # Each stage but the first: 3×3 from half as many channels, three of its own, 1×1: (4.5 + 27 + .5) · c².
    ("resnet18", 21, 1_728 + 4 * 36_864 + 32 * (128**2 + 256**2 + 512**2) + 5_120),
    ("wideresnet(depth=16,width=4)", 17, 432 + 120_832 + 32 * (128**2 + 256**2) + 2_560),
    ("wideresnet", 29, 36_461_232),
    ("mobilenet", 28, 864 + 44_640 + 3_139_584 + 10_240),
])  # fmt: skip
def test_prunable_layers_and_edges(name: str, layers: int, edges: int) -> None:
    graph = mica.trace(make(name), IMAGE)
    assert (len(graph.layers), graph.edges) == (layers, edges)


def test_vgg16_is_the_paper_s() -> None:
    shapes = list(mica.trace(make("vgg16"), IMAGE).shapes.values())
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert [shape[0] for shape in shapes] == [*widths, 10]
    assert [shape[1] for shape in shapes] == [3, *widths]
    assert all(shape[2:] == (3, 3) for shape in shapes[:-1])
    assert all(layer.bias is None for layer in prunable(make("vgg16"))[:-1])


def test_resnet20_halves_its_maps_twice_through_two_1x1_shortcuts() -> None:
    layers = list(mica.trace(make("resnet20"), IMAGE).layers.values())
    ones = [layer for layer in layers if layer.shape[2:] == (1, 1)]
    assert [(layer.shape[:2], layer.stride) for layer in ones] == [((32, 16), (2, 2)), ((64, 32), (2, 2))]
    assert {layer.output_shape[1:] for layer in layers if layer.is_conv} == {(32, 32), (16, 16), (8, 8)}


def test_the_plain_network_adds_nothing() -> None:
    kinds = {op.kind for op in mica.trace(make("plain20"), IMAGE).ops}
    assert "add" not in kinds and "add" in {op.kind for op in mica.trace(make("resnet20"), IMAGE).ops}


def test_mobilenet_alternates_depthwise_and_1x1_convolutions() -> None:
    layers = list(mica.trace(make("mobilenet"), IMAGE).layers.values())[1:-1]
    assert all(layer.groups == layer.shape[0] == layer.input_shape[0] for layer in layers[::2])
    assert all(layer.groups == 1 and layer.shape[2:] == (1, 1) for layer in layers[1::2])
    assert layers[-1].output_shape == (1024, 2, 2)


def test_residual_networks_have_depths_of_their_own() -> None:
    with pytest.raises(UserError, match=r"6n \+ 4 .*found 27"):
        make("wideresnet", depth=27)
    with pytest.raises(UserError, match=r"6n \+ 2 .*found 18"):
        make("resnet", depth=18)


@pytest.mark.parametrize(
    "name",
    ["mlp", "resnet20", "vgg11", "vgg16", "plain20", "resnet18", "wideresnet(depth=10,width=1)", "mobilenet"],
)
@pytest.mark.parametrize(("shape", "classes"), [((1, 16, 16), 4), ((3, 32, 32), 100)])
def test_images_of_any_shape_give_one_score_a_class(name: str, shape: tuple[int, ...], classes: int) -> None:
    assert make(name, shape=shape, classes=classes).eval()(torch.zeros(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "mlp"])
def test_weights_are_kaiming_normal_and_the_rest_is_neutral(name: str) -> None:
    model = make(name)
    checked = 0
    for layer in prunable(model):
        weight = layer.weight.detach()
        count, spread = weight.numel(), math.sqrt(2 / weight[0].numel())
        # Four standard deviations of a sample's mean and of its standard deviation.
        assert abs(weight.mean()) < 4 * spread / math.sqrt(count)
        assert abs(weight.std() / spread - 1) < 4 / math.sqrt(2 * count)
        beyond = (
            (weight.abs() > 2 * spread).double().mean()
        )  # 4.55 % of a normal distribution, 0 of a uniform
        assert count < 10_000 or abs(beyond - 0.0455) < 4 * math.sqrt(0.0455 / count)
        checked += count >= 10_000
        assert layer.bias is None or not layer.bias.any()
    assert checked
    for norm in (
        module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
    ):
        assert (norm.weight == 1).all() and (norm.bias == 0).all()


@pytest.mark.parametrize("name", ["resnet20", "mlp"])
def test_a_seed_makes_the_weights(name: str) -> None:
    torch.manual_seed(1)
    one = make(name, seed=7).state_dict()
    torch.manual_seed(2)
    two, other = make(name, seed=7).state_dict(), make(name, seed=8).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one if one[key].ndim > 1)


def test_building_moves_no_global_random_stream() -> None:
    before = torch.get_rng_state()
    make("mlp")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mlp_has_the_widths_asked_for() -> None:
    model = make("mlp", shape=(1, 8, 8), hidden=[5, 7])
    assert [layer.weight.shape for layer in prunable(model)] == [(5, 64), (7, 5), (10, 7)]


def test_an_unknown_option_or_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"model 'mlp' has no option 'hiden'.*did you mean 'hidden'"):
        make("mlp", hiden=[1])
    with pytest.raises(UnknownName, match="did you mean 'vgg16'"):
        make("vgg1s6")
