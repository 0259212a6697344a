"""A chain computes what torch's convolutions, batch norms, ReLUs, pooling and sums compute, in float64."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.edgewise.chain import Chain
from mica.edgewise.program import Convolution, Operation, Sum


def draw_case(seed: int) -> tuple[nn.Conv2d, Tensor, nn.BatchNorm2d | None, bool, int, Tensor]:
    """A masked convolution of any geometry, what follows it, and images."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    groups = draw.choice([1, 1, 2])
    conv = nn.Conv2d(
        groups * draw.randint(1, 3), groups * draw.randint(1, 3), draw.choice([1, 2, 3, (3, 1)]),
        stride=draw.choice([1, 1, 2, (2, 1)]), padding=draw.choice([0, 1, 2, (0, 1)]),
        dilation=draw.choice([1, 1, 2]), groups=groups, bias=draw.random() < 0.5,
    ).double()  # fmt: skip
    mask = torch.rand(conv.weight.shape) < draw.choice([0, 0.2, 0.5, 1])
    conv.weight.data.masked_fill_(~mask, 0)
    norm = nn.BatchNorm2d(conv.out_channels, momentum=0.3).double() if draw.random() < 0.7 else None
    if norm is not None:
        nn.init.uniform_(norm.weight, -1, 1)  # a negative factor turns the largest into the smallest
        nn.init.normal_(norm.bias)
    images = torch.randn(draw.choice([1, 2, 7]), conv.in_channels, draw.randint(5, 9), draw.randint(5, 9))
    return conv, mask, norm, draw.random() < 0.6, draw.choice([1, 2, 3]), images.double()


def chain_of(
    conv: nn.Conv2d, mask: Tensor, norm: nn.BatchNorm2d | None = None, relu: bool = False, pool: int = 1
) -> Chain:
    return Chain([Convolution("conv", conv, mask, "norm", norm, relu, pool)])


def by_torch(conv: nn.Conv2d, norm: nn.BatchNorm2d | None, relu: bool, pool: int, x: Tensor) -> Tensor:
    x = conv(x)
    x = norm(x) if norm is not None else x
    x = x.relu() if relu else x
    return F.max_pool2d(x, pool) if pool > 1 else x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(150))
def test_outputs_gradients_and_statistics(seed: int, training: bool) -> None:
    conv, mask, norm, relu, pool, images = draw_case(seed)
    twin = None
    if norm is not None:
        twin = nn.BatchNorm2d(norm.num_features, momentum=0.3).double()
        twin.load_state_dict(norm.state_dict())
        twin.train(training)
    x, x_twin = (images.clone().requires_grad_() for _ in range(2))
    if min(by_torch(conv, None, False, 1, x_twin).shape[2:]) < pool:
        pool = 1
    chain = chain_of(conv, mask, norm, relu, pool)
    chain.train(training)
    found, wanted = chain(x), by_torch(conv, twin, relu, pool, x_twin)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)

    gradient = torch.randn_like(wanted)
    names = {"conv.weight": conv.weight, "conv.bias": conv.bias}
    if twin is not None:
        names |= {"norm.weight": twin.weight, "norm.bias": twin.bias}
    named = {name: parameter for name, parameter in names.items() if parameter is not None}
    d_x, d_values = torch.autograd.grad(found, [x, chain.values], gradient)
    d_x_twin, *d_named = torch.autograd.grad(wanted, [x_twin, *named.values()], gradient)
    torch.testing.assert_close(d_x, d_x_twin, rtol=1e-9, atol=1e-9)
    assert list(chain.program.parameters) == list(named)
    for name, d_one in zip(named, d_named, strict=True):
        part = d_one[mask] if name == "conv.weight" else d_one
        torch.testing.assert_close(d_values[chain.program.parameters[name]], part, rtol=1e-9, atol=1e-9)
    if twin is not None:
        statistics = torch.stack([twin.running_mean, twin.running_var])
        torch.testing.assert_close(chain.tracked, statistics, rtol=1e-12, atol=1e-14)
        assert chain.batches.tolist() == [int(twin.num_batches_tracked)]


def test_of_equal_pixels_the_first_has_the_window_s_gradient() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False).double()
    conv.weight.data.fill_(1)
    chain = chain_of(conv, torch.ones(1, 1, 1, 1, dtype=torch.bool), None, False, 2)
    x = torch.full((1, 1, 2, 2), 3.0, dtype=torch.float64, requires_grad=True)
    chain(x).sum().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [1, 0, 0, 0]


def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(6, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9)
    chain = chain_of(conv, torch.rand(conv.weight.shape) < 0.3, norm, True, 2)
    images = torch.randn(33, 6, 12, 12)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        x = images.clone().requires_grad_()
        out = chain(x)
        found.append([out, *torch.autograd.grad(out.square().sum(), [x, chain.values])])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("pixel", [(0, 0), (0, 1), (1, 0), (5, 5)])
def test_what_is_not_a_number_stays_none(pixel: tuple[int, int]) -> None:
    conv, norm = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
    mask = torch.ones(conv.weight.shape, dtype=torch.bool)
    images = torch.randn(4, 1, 6, 6)
    images[0, 0, *pixel] = torch.nan
    assert chain_of(conv, mask, norm, True, 2)(images).isnan().all()
    alone = chain_of(conv, mask, None, True, 2)(images)
    assert torch.equal(alone.isnan(), F.max_pool2d(conv(images).relu(), 2).isnan())


def test_batch_norm_refuses_a_single_value_as_torch_does() -> None:
    conv, norm = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)
    chain = chain_of(conv, torch.ones(conv.weight.shape, dtype=torch.bool), norm, True, 1)
    with pytest.raises(ValueError, match="more than one value"):
        chain(torch.randn(1, 1, 1, 1))
    assert chain.eval()(torch.randn(1, 1, 1, 1)).isfinite().all()


@pytest.mark.parametrize("bare", [True, False])
def test_its_output_may_be_overwritten(bare: bool) -> None:
    conv = nn.Conv2d(2, 3, 3, bias=False).double()
    chain = chain_of(conv, torch.ones(conv.weight.shape, dtype=torch.bool), None, not bare, 1)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    found = F.leaky_relu_(chain(x), 0.1).square().sum()
    straight = conv(x) if bare else conv(x).relu()
    wanted = F.leaky_relu(straight, 0.1).square().sum()
    for a, b in zip(*(torch.autograd.grad(loss, x) for loss in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_many_operations_in_one_call(seed: int, back: bool) -> None:
    """Convolutions and sums in any order, over values that several read."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    shapes, operations = [(draw.randint(1, 3), 12, 12)], list[Operation]()
    for number in range(draw.randint(2, 8)):
        alike = [(a, b) for a in range(len(shapes)) for b in range(len(shapes)) if shapes[a] == shapes[b]]
        reads = len(shapes) - 1 if draw.random() < 0.7 else draw.randrange(len(shapes))
        if number and draw.random() < 0.4:
            pair = draw.choice([pair for pair in alike if len(shapes) - 1 in pair])
            operations.append(Sum(draw.random() < 0.5, pair))
            shapes.append(shapes[pair[0]])
            continue
        channels, *size = shapes[reads]
        stride, pool = (draw.choice([1, 1, 2]), draw.choice([1, 1, 2])) if size[0] > 3 else (1, 1)
        width = channels if draw.random() < 0.5 else draw.randint(1, 5)
        conv = nn.Conv2d(channels, width, 3, stride, 1, bias=draw.random() < 0.3).double()
        mask = torch.rand(conv.weight.shape) < 0.4
        conv.weight.data.masked_fill_(~mask, 0)
        norm = nn.BatchNorm2d(width).double() if draw.random() < 0.7 else None
        operations.append(
            Convolution(f"c{number}", conv, mask, f"n{number}", norm, draw.random() < 0.5, pool, (reads,))
        )
        shapes.append((width, *(-(-side // stride) // pool for side in size)))
    images = torch.randn(4, *shapes[0], dtype=torch.float64)
    values = [images.clone().requires_grad_()]
    twins = [copy.deepcopy(each.norm) if isinstance(each, Convolution) else None for each in operations]
    for each, twin in zip(operations, twins, strict=True):
        if isinstance(each, Convolution):
            values.append(by_torch(each.conv, twin, each.relu, each.pool, values[each.reads[0]]))
        else:
            total = values[each.reads[0]] + values[each.reads[1]]
            values.append(total.relu() if each.relu else total)
    chain, x = Chain(operations), images.clone().requires_grad_()
    if not back:
        with torch.no_grad():
            torch.testing.assert_close(chain(x), values[-1], rtol=1e-9, atol=1e-10)
        return
    found = chain(x)
    torch.testing.assert_close(found, values[-1], rtol=1e-9, atol=1e-10)
    gradient = torch.randn_like(found)
    mine = torch.autograd.grad(found, [x, chain.values], gradient)
    convolutions = [each for each in operations if isinstance(each, Convolution)]
    weights = [each.conv.weight for each in convolutions]
    theirs = torch.autograd.grad(values[-1], [values[0], *weights], gradient, materialize_grads=True)
    torch.testing.assert_close(mine[0], theirs[0], rtol=1e-8, atol=1e-8)
    for each, d_weight in zip(convolutions, theirs[1:], strict=True):
        places = chain.program.parameters[f"{each.name}.weight"]
        torch.testing.assert_close(mine[1][places], d_weight[each.mask], rtol=1e-8, atol=1e-8)


def test_two_passes_before_the_way_back_do_not_meet() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, bias=False).double()
    chain = chain_of(conv, torch.ones(conv.weight.shape, dtype=torch.bool), None, True, 2)
    images = torch.randn(2, 3, 2, 8, 8, dtype=torch.float64)
    apart = [torch.autograd.grad(chain(x).square().sum(), chain.values)[0] for x in images]
    together = sum(chain(x).square().sum() for x in images)
    assert isinstance(together, Tensor)
    torch.testing.assert_close(torch.autograd.grad(together, chain.values)[0], apart[0] + apart[1])


def test_a_second_way_back_is_refused() -> None:
    """Its memory serves the next pass by then."""
    conv = nn.Conv2d(2, 3, 3, bias=False)
    out = chain_of(conv, torch.ones(conv.weight.shape, dtype=torch.bool), None, True, 2)(
        torch.ones(2, 2, 6, 6)
    )
    out.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once a pass"):
        out.sum().backward()


def test_evaluation_keeps_nothing_for_a_way_back_and_leaves_memory_to_the_next_pass() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 3, 3, padding=1, bias=False).double(), nn.BatchNorm2d(3).double()
    last = nn.Conv2d(3, 3, 3, padding=1, bias=False).double()
    masks = [torch.ones(each.weight.shape, dtype=torch.bool) for each in (conv, last)]
    twin = nn.Sequential(conv, copy.deepcopy(norm), nn.ReLU(), last)
    chain = Chain(
        [
            Convolution("conv", conv, masks[0], "norm", norm, relu=True),
            Convolution("last", last, masks[1], reads=(1,)),
        ]
    )
    few, many = (torch.randn(count, 2, 6, 6, dtype=torch.float64) for count in (3, 20))
    for number in range(3):
        chain.eval(), twin.eval()
        with torch.inference_mode():
            torch.testing.assert_close(chain(many), twin(many), rtol=1e-9, atol=1e-10)
        chain.train(), twin.train()
        found, wanted = chain(few), twin(few)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
        found.sum().backward()
        assert len(chain._free) == 1, f"pass {number} kept its memory"
    layouts = {images: layout for (images, *_), layout in chain._layouts.items()}
    assert layouts[20].gradients == 0 and layouts[20].memory < 20 * 6 * 6 * (2 + 3 + 3 + 3)
