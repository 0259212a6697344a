"""PX against its definition, written out in float64 for networks whose paths can be seen."""

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.errors import UserError
from mica.pruners import Network, Ranking, pruners
from tests.pruners.test_ranking_scores import close


def found(model: nn.Module, images: Tensor, pruned: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    network = Network(
        model=model,
        graph=mica.trace(model, tuple(images.shape[1:])),
        images=images,
        labels=torch.zeros(len(images)),
    )
    return Ranking(pruners.get("px"), {}).score(network, network.weights() | (pruned or {}))


def perceptron(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in ((4, 5), (5, 6), (6, 3))]
    return nn.Sequential(layers[0], activation(), layers[1], activation(), layers[2])


def by_paths(weights: list[Tensor], images: Tensor) -> list[Tensor]:
    """w² ⊙ ∂R/∂w² path by path: every path counts w² along it, and once for each image that takes it."""
    scores = [torch.zeros_like(weight) for weight in weights]
    first, second, third = weights
    for x in images:
        hidden = first @ x
        gates = [hidden > 0, second @ hidden.clamp(min=0) > 0]
        taken = torch.zeros(3, dtype=torch.float64)
        for i, a, b, o in (
            (i, a, b, o) for i in range(4) for a in range(5) for b in range(6) for o in range(3)
        ):
            alive = first[a, i] != 0 and second[b, a] != 0 and third[o, b] != 0
            taken[o] += x[i] ** 2 * (alive and gates[0][a] and gates[1][b])
        for i, a, b, o in (
            (i, a, b, o) for i in range(4) for a in range(5) for b in range(6) for o in range(3)
        ):
            path = (first[a, i] * second[b, a] * third[o, b]) ** 2 * taken[o]
            for score, place in zip(scores, ((a, i), (b, a), (o, b)), strict=True):
                score[place] += path
    return scores


@pytest.mark.parametrize("pruned", [False, True])
def test_it_is_the_sum_over_paths(pruned: bool) -> None:
    model = perceptron()
    images = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = {name: model.get_parameter(f"{name}.weight").detach().clone() for name in ("0", "2", "4")}
    if pruned:
        for weight in weights.values():
            weight[::2, ::2] = 0
    wanted = dict(zip(weights, by_paths(list(weights.values()), images), strict=True))
    close(found(model, images, weights), wanted, 1e-12)


def test_convolutions_and_batch_norm() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.running_var.uniform_(0.5, 2)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 2, bias=False),
    ).double().eval()  # fmt: skip
    images = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    scale = (norm.running_var + norm.eps).rsqrt()[:, None, None]
    conv, last = model[0].weight.detach(), model[5].weight.detach()
    gates = model[1](model[0](images)) > 0
    with torch.no_grad():
        counted = nn.functional.conv2d(images**2, torch.ones_like(conv), padding=1) * scale * gates
        taken = (counted.mean((2, 3)) @ torch.ones_like(last).T).sum(0)
    squares = [(conv**2).requires_grad_(), (last**2).requires_grad_()]
    paths = nn.functional.conv2d(torch.ones(1, 2, 4, 4).double(), squares[0], padding=1) * scale
    slopes = torch.autograd.grad((paths.mean((2, 3)) @ squares[1].T)[0] @ taken, squares)
    wanted = {"0": conv**2 * slopes[0], "5": last**2 * slopes[1]}
    close(found(model, images), wanted, 1e-12)


def test_iterations_leave_no_layer_empty_at_a_high_ratio() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for narrow in (3, *[12] * 7):
        layers += [nn.Conv2d(narrow, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))
    data = torch.randn(20, 3, 6, 6), torch.arange(20) % 4
    masks = mica.sparsify(model, "rbpi-px", 200.0, 0, input_shape=(3, 6, 6), data=data)
    assert min(masks.counts().values()) > 0


def test_other_activations_are_refused() -> None:
    with pytest.raises(UserError, match="this network has other activations"):
        found(perceptron(nn.Tanh), torch.randn(2, 4, dtype=torch.float64))
