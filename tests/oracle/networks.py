"""Small random networks that know their own wiring, so that an oracle needs no tracer.

A network is a list of `Op`s. The same list is run by torch (`OracleNet.forward`, which a tracer sees as
ordinary code) and walked unit by unit by `tests.oracle.paths`.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """One step: its kind, the steps it reads, the shape it gives (no batch), and its numbers."""

    kind: str
    inputs: tuple[int, ...]
    shape: Shape
    attrs: dict[str, Any] = field(default_factory=dict)
    layer: str = ""


class OracleNet(nn.Module):
    """A network that is its list of ops; grown by the methods, one call a step, each giving its index."""

    def __init__(self, input_shape: Shape) -> None:
        super().__init__()
        self.steps = nn.ModuleDict()
        self.ops = [Op("input", (), input_shape)]
        self.eval()

    @property
    def input_shape(self) -> Shape:
        return self.ops[0].shape

    def weights(self) -> dict[str, Shape]:
        """Layer name → weight shape of every prunable layer."""
        return {op.layer: tuple(self.get_submodule(op.layer).weight.shape) for op in self.ops if op.layer}

    def shape(self, at: int) -> Shape:
        return self.ops[at].shape

    def conv(self, at: int, out: int, kernel: Any = 3, bias: bool = True, **attrs: Any) -> int:
        module = nn.Conv2d(self.shape(at)[0], out, kernel, bias=bias, **attrs)
        return self._add("conv", (at,), module, layer=True)

    def linear(self, at: int, out: int) -> int:
        return self._add("linear", (at,), nn.Linear(self.shape(at)[0], out), layer=True)

    def norm(self, at: int) -> int:
        return self._add("pointwise", (at,), nn.BatchNorm2d(self.shape(at)[0]))

    def relu(self, at: int, form: str = "module") -> int:
        module = nn.ReLU(inplace=form == "inplace") if form in ("module", "inplace") else None
        return self._add("pointwise", (at,), module, form=form)

    def dropout(self, at: int, form: str = "module") -> int:
        return self._add("pointwise", (at,), nn.Dropout(0.3) if form == "module" else None, form="dropout")

    def max_pool(self, at: int, kernel: Any, form: str = "module", **attrs: Any) -> int:
        module = nn.MaxPool2d(kernel, **attrs) if form == "module" else None
        return self._add("pool", (at,), module, form="max", kernel_size=kernel, **attrs)

    def avg_pool(self, at: int, kernel: Any, form: str = "module", **attrs: Any) -> int:
        module = nn.AvgPool2d(kernel, **attrs) if form == "module" else None
        return self._add("pool", (at,), module, form="avg", kernel_size=kernel, **attrs)

    def adaptive_pool(self, at: int, size: Any, form: str = "avg") -> int:
        kind = nn.AdaptiveMaxPool2d if form == "max" else nn.AdaptiveAvgPool2d
        return self._add("adaptive", (at,), kind(size) if form != "function" else None, size=size)

    def add(self, *at: int, form: str = "+") -> int:
        return self._add("add", at, None, form=form)

    def cat(self, *at: int) -> int:
        return self._add("cat", at, None)

    def flatten(self, at: int, form: str = "module") -> int:
        return self._add("flatten", (at,), nn.Flatten() if form == "module" else None, form=form)

    def mean(self, at: int, form: str = "method") -> int:
        return self._add("mean", (at,), None, form=form)

    def _add(self, kind: str, at: tuple[int, ...], module: nn.Module | None, layer: bool = False,
             **attrs: Any) -> int:  # fmt: skip
        name = f"{kind}{len(self.ops)}"
        if module is not None:
            self.steps[name] = module.eval()
            attrs = {**attrs, "module": name}
        op = Op(kind, at, (), attrs, f"steps.{name}" if layer else "")
        given = [torch.zeros(1, *self.shape(index)) for index in at]
        with torch.no_grad():
            shape = tuple(self._run(op, given).shape[1:])
        self.ops.append(Op(kind, at, shape, attrs, op.layer))
        return len(self.ops) - 1

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for op in self.ops[1:]:
            values.append(self._run(op, [values[index] for index in op.inputs]))
        return values[-1]

    def _run(self, op: Op, given: list[Tensor]) -> Tensor:
        x, attrs, form = given[0], op.attrs, op.attrs.get("form", "")
        if "module" in attrs:
            return self.steps[attrs["module"]](x)
        numbers = {key: value for key, value in attrs.items() if key != "form"}
        if op.kind == "pointwise":
            return _pointwise(x, form, self.training)
        if op.kind == "pool":
            return F.max_pool2d(x, **numbers) if form == "max" else F.avg_pool2d(x, **numbers)
        if op.kind == "adaptive":
            return F.adaptive_avg_pool2d(x, attrs["size"])
        if op.kind == "add":
            return _sum(given, form)
        if op.kind == "cat":
            return torch.cat(given, 1)
        if op.kind == "flatten":
            return _flat(x, form)
        assert op.kind == "mean", op.kind
        return x.mean([2, 3]) if form == "method" else torch.mean(x, dim=(-2, -1))


def _pointwise(x: Tensor, form: str, training: bool) -> Tensor:
    if form == "dropout":
        return F.dropout(x, 0.3, training)
    if form == "method":
        return x.relu()
    return torch.relu(x) if form == "torch" else F.relu(x)


def _sum(given: list[Tensor], form: str) -> Tensor:
    total = given[0]
    for addend in given[1:]:
        if form == "+=":
            total += addend
        else:
            total = torch.add(total, addend) if form == "torch" else total + addend
    return total


def _flat(x: Tensor, form: str) -> Tensor:
    if form == "view":
        return x.view(x.size(0), -1)
    if form == "reshape":
        return x.reshape(x.shape[0], -1)
    return torch.flatten(x, 1) if form == "torch" else x.flatten(1)


def random_network(seed: int, most_pixels: int = 7) -> OracleNet:
    """A tiny network of every ordinary part, drawn from `seed`."""
    draw = random.Random(seed)
    net = OracleNet((draw.randint(1, 3), draw.randint(3, most_pixels), draw.randint(3, most_pixels)))
    at = _body(net, draw, 0, draw.randint(1, 4))
    _head(net, draw, at)
    return net


def _body(net: OracleNet, draw: random.Random, at: int, blocks: int) -> int:
    often = [_conv_block, _pool, _residual]
    parts = [*often, *often, _shortcut, _concatenation, _depthwise]
    for _ in range(blocks):
        at = draw.choice(parts)(net, draw, at)
    return at


def _after(net: OracleNet, draw: random.Random, at: int) -> int:
    if draw.random() < 0.5:
        at = net.norm(at)
    if draw.random() < 0.7:
        at = net.relu(at, draw.choice(["module", "inplace", "function", "torch", "method"]))
    if draw.random() < 0.15:
        at = net.dropout(at, draw.choice(["module", "function"]))
    return at


def _conv_block(net: OracleNet, draw: random.Random, at: int) -> int:
    width, height, breadth = net.shape(at)
    kernel = (draw.choice([1, 2, 3, 3]), draw.choice([1, 2, 3, 3, 4]))
    groups = draw.choice([g for g in (1, 1, 2, 3) if width % g == 0])
    stride = (draw.choice([1, 1, 2, 3]), draw.choice([1, 1, 2]))
    dilation = (draw.choice([1, 1, 2]), draw.choice([1, 1, 2]))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    least = [max(0, (r - n + 1) // 2) for r, n in zip(reach, (height, breadth), strict=True)]
    padding = tuple(low + draw.choice([0, 0, 1, 2]) for low in least)
    if draw.random() < 0.1:
        stride, padding = (1, 1), "same"
    at = net.conv(at, groups * draw.randint(1, 4 // groups + 1), kernel, bias=draw.random() < 0.5,
                  stride=stride, padding=padding, dilation=dilation, groups=groups)  # fmt: skip
    return _after(net, draw, at)


def _depthwise(net: OracleNet, draw: random.Random, at: int) -> int:
    width = net.shape(at)[0]
    at = net.conv(at, width * draw.choice([1, 1, 2]), 3, padding=1, groups=width, bias=False)
    return net.conv(_after(net, draw, at), draw.randint(1, 4), 1)


def _pool(net: OracleNet, draw: random.Random, at: int) -> int:
    size = net.shape(at)[1:]
    if draw.random() < 0.2:
        goal = draw.choice([1, 2, 3, (2, 3), (3, 1)])
        return net.adaptive_pool(at, goal, draw.choice(["avg", "max", "function"]))
    kernel = tuple(draw.randint(1, min(3, n)) for n in size)
    padding = tuple(draw.randint(0, k // 2) for k in kernel)
    stride = draw.choice([1, 2, 2, 3])
    form, ceil = draw.choice(["module", "function"]), draw.random() < 0.5
    if draw.random() < 0.5:
        return net.avg_pool(at, kernel, form, stride=stride, padding=padding, ceil_mode=ceil)
    fits = all(2 * (k - 1) + 1 <= n + 2 * p for k, n, p in zip(kernel, size, padding, strict=True))
    dilation = 2 if fits and draw.random() < 0.3 else 1
    return net.max_pool(at, kernel, form, stride=stride, padding=padding, ceil_mode=ceil, dilation=dilation)


def _residual(net: OracleNet, draw: random.Random, at: int) -> int:
    width = net.shape(at)[0]
    inner = net.conv(at, draw.randint(1, 4), 3, padding=1, bias=False)
    inner = net.conv(_after(net, draw, inner), width, draw.choice([1, (3, 1)]), padding="same")
    inner = net.norm(inner) if draw.random() < 0.5 else inner
    return net.relu(net.add(inner, at, form=draw.choice(["+", "+=", "torch"])))


def _shortcut(net: OracleNet, draw: random.Random, at: int) -> int:
    width, stride = draw.randint(1, 5), draw.choice([1, 2])
    inner = _after(net, draw, net.conv(at, width, 3, stride=stride, padding=1, bias=False))
    side = net.conv(at, width, 1, stride=stride)
    third = [net.conv(at, width, 3, stride=stride, padding=1)] if draw.random() < 0.3 else []
    return _after(net, draw, net.add(inner, side, *third))


def _concatenation(net: OracleNet, draw: random.Random, at: int) -> int:
    branches = [net.conv(at, draw.randint(1, 3), 3, padding=1), net.conv(at, draw.randint(1, 3), 1)]
    if draw.random() < 0.6:
        branches.append(at)
    draw.shuffle(branches)
    return net.cat(*branches)


def _head(net: OracleNet, draw: random.Random, at: int) -> int:
    kind = draw.choice(["flatten", "flatten", "mean", "pool", "conv"])
    if kind == "conv":
        return net.mean(net.conv(at, draw.randint(2, 4), 1))
    if kind == "mean":
        at = net.mean(at, draw.choice(["method", "torch"]))
    elif kind == "pool":
        at = net.flatten(net.adaptive_pool(at, draw.choice([1, 2])))
    else:
        at = net.flatten(at, draw.choice(["module", "view", "reshape", "torch", "method"]))
    if draw.random() < 0.4:
        at = net.relu(net.linear(at, draw.randint(2, 5)), "function")
    return net.linear(at, draw.randint(2, 4))


def random_masks(net: OracleNet, seed: int) -> dict[str, Tensor]:
    """A mask a layer, each of its own density; now and then a layer is empty or dense."""
    draw, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    usual = draw.choice([0.1, 0.2, 0.35, 0.5])
    masks = {}
    for name, shape in net.weights().items():
        density = draw.choice([usual] * 9 + [1.0] + ([0.0] if draw.random() < 0.2 else []))
        masks[name] = torch.rand(shape, generator=noise) < density
    return masks
