"""A quickened network has the gradients of the network that it stands for."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mica.training.forms.on_cpu import quicken

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": (3, 1), "padding": (1, 0), "bias": False},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (2, 3), "padding": (0, 2), "stride": (3, 1)},
    {"kernel_size": 3, "padding": 3, "dilation": 3},
    {"kernel_size": 5, "padding": 2, "stride": 4},
    {"kernel_size": 1, "stride": 2},
]
SIZES = [(1, 1), (2, 2), (3, 4), (4, 4), (1, 7), (5, 5)]
"""5×5 pixels are too many: there the network's own way is taken."""


def quickened(network: nn.Module) -> nn.Module:
    twin = copy.deepcopy(network)
    quicken(twin)
    return twin


def gradients(model: nn.Module, x: Tensor, loss_of: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    model.zero_grad(set_to_none=True)
    out = model(x)
    out.backward(loss_of[:, :, : out.shape[2], : out.shape[3]])
    assert x.grad is not None
    return [out.detach(), x.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_gradients_are_those_of_a_convolution(geometry: dict, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, **geometry).double()
    x, loss_of = torch.randn(4, 3, *size).double(), torch.randn(4, 5, 12, 12).double()
    try:
        conv(x)
    except RuntimeError:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            quickened(nn.Sequential(conv))(x)
        return
    plain, quick = nn.Sequential(conv), quickened(nn.Sequential(conv))
    assert type(quick[0]) is not nn.Conv2d
    ours, theirs = gradients(quick, x, loss_of), gradients(plain, x, loss_of)
    assert len(ours) == len(theirs) == 2 + len(list(conv.parameters()))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)


def test_what_hangs_on_a_module_stays() -> None:
    conv, dropout, calls = nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(0.5), []
    conv.register_forward_hook(lambda *_: calls.append(1))
    network = nn.Sequential(conv, dropout, conv, dropout)
    quicken(network)
    assert [*network] == [conv, dropout, conv, dropout]
    assert type(conv) is not nn.Conv2d and type(dropout) is not nn.Dropout
    network(torch.randn(2, 3, 4, 4)).sum().backward()
    assert len(calls) == 2


def test_bf16_is_as_near_to_float64_as_the_library_s() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(64, 32, 3, padding=1))
    x, loss_of = torch.randn(16, 64, 4, 4), torch.randn(16, 32, 4, 4)
    exact = gradients(copy.deepcopy(plain).double(), x.double(), loss_of.double())

    def errors(model: nn.Module) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16):
            found = gradients(model, x, loss_of.bfloat16())
        assert all(g.dtype == torch.float32 for g in found[1:])
        return [float((f - e).norm() / e.norm()) for f, e in zip(found, exact, strict=True)]

    for mine, its in zip(errors(quickened(plain)), errors(plain), strict=True):
        assert mine < 2 * its


def test_convolutions_of_other_kinds_stay() -> None:
    grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    reflected = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
    same, own = nn.Conv2d(4, 4, 3, padding="same"), OwnDropout()
    twin = quickened(nn.Sequential(grouped, reflected, same, own))
    assert [type(module) for module in twin] == [nn.Conv2d] * 3 + [OwnDropout]


class OwnDropout(nn.Dropout):
    """A user's, which may do something else."""
