"""The oracle itself: checked against the written definition (design 4.2) and against listed paths."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracle.networks import OracleNet, random_masks, random_network
from tests.oracle.paths import every_path, functional_edges


def edges_of(masks: dict[str, Tensor]) -> set[tuple]:
    return {(name, *index) for name, mask in masks.items() for index in map(tuple, mask.nonzero().tolist())}


def by_gradient(net: OracleNet, masks: dict[str, Tensor]) -> set[tuple]:
    """mask × ∂(Σ outputs)/∂mask > 0, word for word, in float64: the nets are too small to leave its range."""
    marks = {name: mask.double().requires_grad_() for name, mask in masks.items()}
    values = [torch.ones(1, *net.input_shape, dtype=torch.float64)]
    for op in net.ops[1:]:
        given = [values[index] for index in op.inputs]
        x = given[0]
        if op.kind == "conv":
            conv = net.get_submodule(op.layer)
            y = F.conv2d(x, marks[op.layer], None, conv.stride, conv.padding, conv.dilation, conv.groups)
        elif op.kind == "linear":
            y = F.linear(x, marks[op.layer])
        elif op.kind == "pool":
            y = _pool_sum(x, op)
        elif op.kind == "adaptive":
            y = F.adaptive_avg_pool2d(x, op.attrs["size"])
        elif op.kind == "pointwise":
            y = x
        else:
            y = net._run(op, [value.clone() for value in given])
        values.append(y)
    slopes = torch.autograd.grad(values[-1].sum(), list(marks.values()), allow_unused=True)
    pairs = zip(marks.items(), slopes, strict=True)
    return edges_of({name: (mark * slope > 0) for (name, mark), slope in pairs if slope is not None})


def _pool_sum(x: Tensor, op) -> Tensor:
    """The sum over each window, as a convolution of ones (far padding covers ceil_mode)."""
    numbers = {"dilation": 1, **op.attrs}
    kernel = numbers["kernel_size"]
    pad = numbers["padding"]
    x = F.pad(x, (pad[1], pad[1] + 9, pad[0], pad[0] + 9))
    ones = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
    y = F.conv2d(x, ones, None, numbers["stride"], 0, numbers["dilation"], x.shape[1])
    return y[:, :, : op.shape[1], : op.shape[2]]


@pytest.mark.parametrize("seed", range(0, 400, 8))
def test_the_oracle_agrees_with_the_gradient_definition(seed: int) -> None:
    net = random_network(seed)
    masks = random_masks(net, seed)
    assert functional_edges(net, masks) == by_gradient(net, masks)


def test_the_oracle_agrees_with_paths_listed_one_by_one() -> None:
    compared = functional = 0
    for seed in range(120):
        net = random_network(seed, most_pixels=4)
        masks = random_masks(net, seed)
        listed = every_path(net, masks, most=20_000)
        if listed is not None:
            assert listed == functional_edges(net, masks), seed
            compared, functional = compared + 1, functional + len(listed)
    assert compared > 40
    assert functional > 200


def test_the_random_networks_hold_every_ordinary_part() -> None:
    nets = [random_network(seed) for seed in range(300)]
    kinds = {op.kind for net in nets for op in net.ops} - {"input", "conv", "linear", "pointwise"}
    assert kinds == {"pool", "adaptive", "add", "cat", "flatten", "mean"}
    convs = [net.get_submodule(op.layer) for net in nets for op in net.ops if op.kind == "conv"]
    assert any(conv.groups == conv.in_channels > 1 for conv in convs)
    assert any(conv.dilation[0] > 1 for conv in convs)
    assert any(conv.kernel_size[0] == 2 for conv in convs)
    pools = [op.attrs for net in nets for op in net.ops if op.kind == "pool"]
    assert any(pool["ceil_mode"] and max(pool["padding"]) > 0 for pool in pools)


def test_some_random_masks_work_some_partly_and_some_collapse() -> None:
    shares = []
    for seed in range(60):
        net = random_network(seed)
        masks = random_masks(net, seed)
        kept = edges_of(masks)
        shares.append(len(functional_edges(net, masks)) / len(kept) if kept else 0)
    assert sum(share == 0 for share in shares) >= 3
    assert sum(0 < share < 1 for share in shares) >= 20
