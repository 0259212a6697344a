"""One block computes what torch's convolution, batch norm, ReLU and max pooling compute, in float64."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.edgewise.block import Block


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
        norm.train(training), twin.train(training)
    block = Block(conv, mask, norm, relu, pool)
    x, x_twin = (images.clone().requires_grad_() for _ in range(2))
    if min(by_torch(conv, None, False, 1, x_twin).shape[2:]) < pool:
        pool = block.pool = 1
    found, wanted = block(x), by_torch(conv, twin, relu, pool, x_twin)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)

    gradient = torch.randn_like(wanted)
    others = [] if conv.bias is None else [conv.bias]
    affine, affine_twin = ([] if n is None else [n.weight, n.bias] for n in (norm, twin))
    mine = torch.autograd.grad(found, [x, block.values, *others, *affine], gradient)
    theirs = torch.autograd.grad(wanted, [x_twin, conv.weight, *others, *affine_twin], gradient)
    for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        torch.testing.assert_close(a, b[mask] if index == 1 else b, rtol=1e-9, atol=1e-9)
    if norm is not None and twin is not None:
        for name, value in twin.state_dict().items():
            torch.testing.assert_close(norm.state_dict()[name], value, rtol=1e-12, atol=1e-14)


def test_of_equal_pixels_the_first_has_the_window_s_gradient() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False).double()
    conv.weight.data.fill_(1)
    block = Block(conv, torch.ones(1, 1, 1, 1, dtype=torch.bool), None, False, 2)
    x = torch.full((1, 1, 2, 2), 3.0, dtype=torch.float64, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [1, 0, 0, 0]


def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(6, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9)
    block = Block(conv, torch.rand(conv.weight.shape) < 0.3, norm, True, 2)
    images = torch.randn(33, 6, 12, 12)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        x = images.clone().requires_grad_()
        out = block(x)
        found.append(
            [out, *torch.autograd.grad(out.square().sum(), [x, block.values, norm.weight, norm.bias])]
        )
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("pixel", [(0, 0), (0, 1), (1, 0), (5, 5)])
def test_what_is_not_a_number_stays_none(pixel: tuple[int, int]) -> None:
    conv, norm = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
    mask = torch.ones(conv.weight.shape, dtype=torch.bool)
    images = torch.randn(4, 1, 6, 6)
    images[0, 0, *pixel] = torch.nan
    assert Block(conv, mask, norm, True, 2)(images).isnan().all()
    alone = Block(conv, mask, None, True, 2)(images)
    assert torch.equal(alone.isnan(), F.max_pool2d(conv(images).relu(), 2).isnan())


def test_batch_norm_refuses_a_single_value_as_torch_does() -> None:
    conv, norm = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)
    block = Block(conv, torch.ones(conv.weight.shape, dtype=torch.bool), norm, True, 1)
    with pytest.raises(ValueError, match="more than one value"):
        block(torch.randn(1, 1, 1, 1))
    assert block.eval()(torch.randn(1, 1, 1, 1)).isfinite().all()


@pytest.mark.parametrize("bare", [True, False])
def test_its_output_may_be_overwritten(bare: bool) -> None:
    conv = nn.Conv2d(2, 3, 3, bias=False).double()
    block = Block(conv, torch.ones(conv.weight.shape, dtype=torch.bool), None, not bare, 1)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    found = F.leaky_relu_(block(x), 0.1).square().sum()
    straight = conv(x) if bare else conv(x).relu()
    wanted = F.leaky_relu(straight, 0.1).square().sum()
    for a, b in zip(*(torch.autograd.grad(loss, x) for loss in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
