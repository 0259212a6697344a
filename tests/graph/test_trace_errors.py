"""What cannot be followed is a `TraceError` that names the module and the operation (design 4.1)."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mica
from mica.errors import TraceError
from tests.oracle.gradient import functional_by_gradient


class Body(nn.Module):
    """A conv, then a step of the test's own, run inside the submodule `odd`, then a linear layer."""

    def __init__(self, step: nn.Module, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.odd = step
        self.fc = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.odd(self.conv(x)), 1))


class Step(nn.Module):
    """One function as a module; with parts of its own where it needs some."""

    def __init__(self, function: Callable, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def branch() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())


def if_positive(step: Step, x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def own_conv(m: Step, x: Tensor) -> Tensor:
    return F.conv2d(x, m.own, padding=1)


def own_linear(m: Step, x: Tensor) -> Tensor:
    return F.linear(x, m.own)


def along_rows(m: Step, x: Tensor) -> Tensor:
    return m.part(torch.flatten(x, 2))


def attention(m: Step, x: Tensor) -> Tensor:
    rows = torch.flatten(x, 2)
    return m.part(rows, rows, rows)[0]


def recurrence(m: Step, x: Tensor) -> Tensor:
    return m.part(torch.flatten(x, 2))[0]


# name: the step, the linear layer's features, words that the message must hold (lower case)
IMPOSSIBLE = {
    "a product of two branches": (lambda: Step(lambda m, x: x * m.gate(x), gate=branch()), 144, "odd mul"),
    "torch.mul": (lambda: Step(lambda m, x: torch.mul(x, m.gate(x)), gate=branch()), 144, "odd mul"),
    "a matrix product": (lambda: Step(lambda m, x: x @ x), 144, "odd matmul"),
    "a batch in the reshape": (lambda: Step(lambda m, x: x.view(-1, 8)), 8, "odd view"),
    "a reshape of channels": (lambda: Step(lambda m, x: x.reshape(-1, 2, 12, 6)), 144, "odd reshape"),
    "axes moved": (lambda: Step(lambda m, x: x.permute(0, 2, 3, 1)), 144, "odd permute"),
    "a conv of its own": (
        lambda: Step(own_conv, own=nn.Parameter(torch.ones(4, 4, 3, 3))),
        144,
        "odd conv2d",
    ),
    "a linear of its own": (lambda: Step(own_linear, own=nn.Parameter(torch.ones(6, 6))), 144, "odd linear"),
    "a branch that the data decides": (lambda: Step(if_positive), 144, ""),
    "a 1-d conv": (lambda: Step(along_rows, part=nn.Conv1d(4, 4, 3, padding=1)), 144, "odd"),
    "a transposed conv": (lambda: nn.ConvTranspose2d(4, 4, 1), 144, "odd convtranspose2d"),
    "a 3-d conv": (lambda: nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv3d(4, 4, 1)), 144, "odd"),
    "a recurrent layer": (lambda: Step(recurrence, part=nn.GRU(36, 36, batch_first=True)), 144, "odd"),
    "attention": (lambda: Step(attention, part=nn.MultiheadAttention(36, 2)), 144, "odd"),
    "channels shuffled": (lambda: nn.ChannelShuffle(2), 144, "odd channelshuffle"),
    "channels in another order": (lambda: Step(lambda m, x: x[:, [2, 0, 1, 3]]), 144, "odd getitem"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_followed_names_module_and_operation(name: str) -> None:
    make, features, words = IMPOSSIBLE[name]
    with pytest.raises(TraceError) as caught:
        mica.trace(Body(make(), features), (3, 6, 6))
    message = str(caught.value).lower()
    assert all(word in message for word in words.split()), message


def test_a_1d_conv_is_named() -> None:
    with pytest.raises(TraceError, match=r"'0'.*Conv1d|Conv1d.*'0'"):
        mica.trace(nn.Sequential(nn.Conv1d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2)), (3, 6))


class Twice(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = nn.Linear(6, 6) if tied else self.first
        if tied:
            self.again.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.relu(self.first(x)))


@pytest.mark.parametrize("tied", [False, True], ids=["one module", "two modules with one weight"])
def test_a_layer_used_twice_is_named(tied: bool) -> None:
    with pytest.raises(TraceError, match="first"):
        mica.trace(Twice(tied), (6,))


def test_a_trace_error_is_a_value_error_for_the_user() -> None:
    assert issubclass(TraceError, ValueError)


def test_an_input_of_the_wrong_shape_is_said_to_be_that() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(TraceError, match=r"5|channel|shape"):
        mica.trace(model, (5, 6, 6))
    with pytest.raises(TraceError):
        mica.trace(model, (3, 7, 7))


def test_a_network_without_prunable_layers_is_an_error() -> None:
    with pytest.raises(TraceError):
        mica.trace(nn.Sequential(nn.ReLU(), nn.Flatten()), (3, 6, 6))


def pooled(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1)


def broadcast(m: Step, x: Tensor) -> Tensor:
    return x + pooled(x)


# name: the step and the linear layer's features; to follow these rightly or to refuse them are both well
DOUBTFUL = {
    "a sum that broadcasts": (lambda: Step(broadcast), 144),
    "a mean over channels": (lambda: Step(lambda m, x: x.mean(1)), 36),
    "a mean over rows": (lambda: Step(lambda m, x: x.mean(2)), 24),
    "a mean over columns, kept": (lambda: Step(lambda m, x: x.mean(3, keepdim=True)), 24),
    "a mean over everything but the batch": (lambda: Step(lambda m, x: x.mean([1, 2, 3], keepdim=True)), 1),
    "a concatenation of rows": (lambda: Step(lambda m, x: torch.cat([x, x], 2)), 288),
    "a concatenation from behind": (lambda: Step(lambda m, x: torch.cat([x, x], dim=-3)), 288),
    "a conv over a ring": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), 144),
    "a conv over a mirror": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), 144),
    "the first channels": (lambda: Step(lambda m, x: x[:, :2]), 72),
    "the first rows": (lambda: Step(lambda m, x: x[:, :, :2]), 48),
    "halves of the channels": (lambda: Step(lambda m, x: torch.chunk(x, 2, 1)[1]), 72),
    "a sum over space": (lambda: Step(lambda m, x: x.sum((2, 3))), 4),
    "rows flattened": (lambda: Step(lambda m, x: torch.flatten(x, 2)), 144),
    "a flatten from behind": (lambda: Step(lambda m, x: torch.flatten(x, -3, -1)), 144),
    "a flatten of channels and rows only": (lambda: Step(lambda m, x: torch.flatten(x, 1, 2)), 144),
    "a linear layer along columns": (lambda: nn.Linear(6, 6), 144),
    "zeros around": (lambda: nn.ZeroPad2d((0, 2, 1, 0)), 4 * 7 * 8),
    "an enlargement": (lambda: nn.Upsample(scale_factor=2), 4 * 144),
    "pixels to channels": (lambda: nn.PixelUnshuffle(2), 144),
    "a constant factor": (lambda: Step(lambda m, x: 0.5 * x), 144),
    "itself twice": (lambda: Step(lambda m, x: x + x), 144),
    "a squeeze of a pool": (lambda: Step(lambda m, x: pooled(x).squeeze(-1).squeeze(-1)), 4),
    "a view of a pool": (lambda: Step(lambda m, x: pooled(x).view(-1, 4)), 4),
    "groups of channels normalised": (lambda: nn.GroupNorm(2, 4), 144),
    "space normalised": (lambda: nn.LayerNorm(6), 144),
    "a softmax": (lambda: nn.Softmax(1), 144),
    "an uneven pool": (lambda: nn.AvgPool2d((3, 2), (2, 3), (1, 0), ceil_mode=True), 4 * 4 * 2),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_may_be_followed_is_followed_rightly_or_refused(name: str) -> None:
    make, features = DOUBTFUL[name]
    torch.manual_seed(1)
    model = Body(make(), features)
    assert model(torch.zeros(2, 3, 6, 6)).shape == (2, 5)
    try:
        graph = mica.trace(model, (3, 6, 6))
    except TraceError as error:
        assert "odd" in str(error)
        return
    if name in ("groups of channels normalised", "space normalised", "a softmax"):
        pytest.fail("it mixes units: it must be refused")
    for seed in range(8):
        noise = torch.Generator().manual_seed(seed)
        density = {"conv": 0.12, "odd": 0.1, "fc": 0.03}
        drawn = {path: torch.rand(layer.shape, generator=noise) for path, layer in graph.layers.items()}
        masks = mica.Masks({path: value < density[path] for path, value in drawn.items()})
        wanted = functional_by_gradient(model, masks, (3, 6, 6))
        found = mica.functional(graph, masks)
        assert all(torch.equal(found[path], wanted[path]) for path in masks), seed


def test_layers_that_lead_nowhere_are_layers_without_function() -> None:
    class SideBranch(Body):
        def forward(self, x: Tensor) -> Tensor:
            self.odd(x)
            return self.fc(torch.flatten(self.conv(x), 1))

    model = SideBranch(nn.Conv2d(3, 2, 1), 144)
    graph = mica.trace(model, (3, 6, 6))
    masks = mica.Masks({n: torch.ones(layer.shape, dtype=torch.bool) for n, layer in graph.layers.items()})
    found = mica.functional(graph, masks)
    assert found["fc"].all()
    if "odd" in found:
        assert not found["odd"].any()
