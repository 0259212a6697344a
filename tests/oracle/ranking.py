"""SNIP, GraSP and SynFlow worked out a second time: float64, plain loops, central differences."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = dict[str, Tensor]
Loss = Callable[[Weights], Tensor]


def weights_of(model: nn.Module) -> Weights:
    """The prunable weights in float64, cut off from the model."""
    kinds = (nn.Conv2d, nn.Linear)
    return {
        name: module.weight.detach().double().clone()
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    }


def small_conv_net(seed: int, classes: int = 3) -> nn.Sequential:
    """Strided and grouped convs, a batch norm with drawn statistics, a linear layer; biases not zero."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(6, classes),
    )  # fmt: skip
    norm = model[1]
    for value, low, high in ((norm.running_mean, -0.5, 0.5), (norm.running_var, 0.5, 2.0)):
        value.uniform_(low, high)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return model


def relu(x: Tensor) -> Tensor:
    """With slope 0 at 0, as torch's own has, and `clamp` has not."""
    return x * (x > 0)


def conv_net_logits(model: nn.Sequential, weights: Weights, x: Tensor, batch_norm: str) -> Tensor:
    """`small_conv_net` once more with the batch norm written out; all in float64."""
    norm, double = model[1], torch.Tensor.double
    x = F.conv2d(x.double(), weights["0"], double(model[0].bias), padding=1)
    if batch_norm == "train":
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = double(norm.running_mean), double(norm.running_var)
    scale = double(norm.weight) / torch.sqrt(var + norm.eps)
    x = (x - mean[:, None, None]) * scale[:, None, None] + double(norm.bias)[:, None, None]
    x = relu(F.conv2d(relu(x), weights["3"], stride=2, groups=2))
    x = F.avg_pool2d(x, 2).flatten(1)
    return x @ weights["7"].T + double(model[7].bias)


def gradient(loss: Loss, weights: Weights) -> Weights:
    """∂loss/∂weights."""
    free = {name: value.clone().requires_grad_() for name, value in weights.items()}
    slopes = torch.autograd.grad(loss(free), list(free.values()))
    return dict(zip(free, slopes, strict=True))


def snip(loss: Loss, weights: Weights) -> Weights:
    return {name: (slope * weights[name]).abs() for name, slope in gradient(loss, weights).items()}


def grasp(loss: Loss, weights: Weights, step: float) -> Weights:
    """w ⊙ Hg with Hg ≈ (∇L(w + hg) − ∇L(w − hg)) / 2h, where h·max|g| = step."""
    slopes = gradient(loss, weights)
    h = step / max(float(slope.abs().max()) for slope in slopes.values())
    ahead, behind = (
        gradient(loss, {name: value + sign * h * slopes[name] for name, value in weights.items()})
        for sign in (1, -1)
    )
    return {name: value * (ahead[name] - behind[name]) / (2 * h) for name, value in weights.items()}


def synflow_conv_chain(weights: Weights, norms: Mapping[str, Tensor], size: int) -> Weights:
    """SynFlow's score by plain loops for convs (3×3, stride 1, padding 1), a global mean, a linear layer.

    `norms` holds, for a conv, the factor weight / sqrt(variance + eps) of the batch norm behind it.
    """
    *convs, last = weights
    first = [[[1.0] * size for _ in range(size)] for _ in range(weights[convs[0]].shape[1])]
    maps = [first]
    for name in convs:
        maps.append(_forward(weights[name].abs().tolist(), norms[name].tolist(), maps[-1]))
    pooled = [sum(map(sum, rows)) / size**2 for rows in maps[-1]]
    matrix = weights[last].abs()
    scores = {last: matrix * torch.tensor(pooled, dtype=torch.float64)}
    flow = [[[column / size**2] * size for _ in range(size)] for column in matrix.sum(0).tolist()]
    for name, given in zip(reversed(convs), maps[-2::-1], strict=True):
        scores[name], flow = _backward(weights[name].abs(), norms[name].tolist(), given, flow)
    return {name: scores[name] for name in weights}


def _places(size: int):
    """(row, column, kernel row, kernel column, source row, source column) inside the image."""
    for y in range(size):
        for x in range(size):
            for i in range(3):
                for j in range(3):
                    if 0 <= y + i - 1 < size and 0 <= x + j - 1 < size:
                        yield y, x, i, j, y + i - 1, x + j - 1


def _forward(weight: list, norm: list, given: list) -> list:
    size = len(given[0])
    result = [[[0.0] * size for _ in range(size)] for _ in weight]
    for y, x, i, j, v, u in _places(size):
        for o, filters in enumerate(weight):
            result[o][y][x] += norm[o] * sum(k[i][j] * given[c][v][u] for c, k in enumerate(filters))
    return result


def _backward(weight: Tensor, norm: list, given: list, flow: list) -> tuple[Tensor, list]:
    size, rows = len(given[0]), weight.tolist()
    score = torch.zeros_like(weight).tolist()
    upstream = [[[0.0] * size for _ in range(size)] for _ in given]
    for y, x, i, j, v, u in _places(size):
        for o, filters in enumerate(rows):
            arriving = flow[o][y][x] * norm[o]
            for c, kernel in enumerate(filters):
                score[o][c][i][j] += kernel[i][j] * given[c][v][u] * arriving
                upstream[c][v][u] += kernel[i][j] * arriving
    return torch.tensor(score, dtype=torch.float64), upstream


def synflow_masks(
    score: Callable[[Weights], Weights], weights: Weights, ratio: float, iterations: int = 100
) -> tuple[dict[str, Tensor], float]:
    """The masks after all iterations, and the smallest relative gap any cut went through."""
    total, masked, least = sum(w.numel() for w in weights.values()), dict(weights), math.inf
    for iteration in range(1, iterations + 1):
        density = (1 / ratio) ** (iteration / iterations)
        keep = total - math.floor(total * (1 - density))
        flat = torch.cat([value.flatten() for value in score(masked).values()])
        ranked = flat.sort(descending=True)
        chosen = torch.zeros(total, dtype=torch.bool)
        chosen[ranked.indices[:keep]] = True
        if keep < total:
            inside, outside = ranked.values[keep - 1], ranked.values[keep]
            least = min(least, float((inside - outside) / inside))
        parts = chosen.split([value.numel() for value in weights.values()])
        masks = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
        masked = {name: value * masks[name] for name, value in masked.items()}
    return masks, least
