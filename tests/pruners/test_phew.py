"""PHEW's walks against probabilities worked out by hand; what it keeps lies on them."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import mica
from mica.models import build, models
from mica.pruners.walks.steps import Walks


class Branches(nn.Module):
    """A sum of a layer and of what it reads, a concatenation, a depthwise convolution, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.beside = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.last = nn.Linear(8 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.last(torch.cat([x, x + self.beside(x)], 1).flatten(1))


def walks(model: nn.Module, shape: tuple[int, ...]) -> tuple[Walks, mica.LayerGraph, dict[str, np.ndarray]]:
    graph = mica.trace(model, shape)
    sizes = {
        name: model.get_parameter(f"{name}.weight").detach().abs().double().numpy() for name in graph.layers
    }
    return Walks(graph, sizes), graph, sizes


def test_a_walk_takes_every_path_as_often_as_it_must() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    walking, _, sizes = walks(model, (2,))
    first, second = sizes["0"], sizes["2"]
    count = 20_000
    for way in ("forward", "backward"):
        passed = getattr(walking, way)(count, np.random.default_rng(1))
        found = Counter(zip(passed["0"][1].tolist(), passed["2"][1].tolist(), strict=True))
        chances = {}
        for i in range(2):
            for h in range(3):
                for o in range(2):
                    if way == "forward":
                        chance = first[h, i] / first[:, i].sum() * second[o, h] / second[:, h].sum()
                    else:
                        chance = second[o, h] / second[o].sum() * first[h, i] / first[h].sum()
                    chances[h * 2 + i, o * 3 + h] = chance / 2
        assert sum(chances.values()) == pytest.approx(1)
        assert set(found) <= set(chances)
        wanted = [count * chance for chance in chances.values()]
        assert stats.chisquare([found[path] for path in chances], wanted).pvalue > 0.001


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_edges_of_one_walk_join(way: str) -> None:
    torch.manual_seed(0)
    walking, graph, _ = walks(Branches(), (2, 2, 2))
    passed = getattr(walking, way)(500, np.random.default_rng(0))
    stem, beside, last = (
        dict(zip(*map(np.ndarray.tolist, passed[name]), strict=True)) for name in graph.layers
    )
    assert set(stem) == set(last) == set(range(500)), "every walk arrives"
    assert 0 < len(beside) < 500, "some go beside"
    for walk in range(500):
        channel = stem[walk] // 18
        feature = last[walk] % 32 // 4
        if walk in beside:
            assert beside[walk] // 9 == channel
            assert feature == 4 + channel
        else:
            assert feature % 4 == channel


def test_walks_keep_to_the_edges_that_they_are_told() -> None:
    torch.manual_seed(0)
    walking, _, _ = walks(Branches(), (2, 2, 2))
    walking.keep_to("stem", np.array([5, 40]))  # of channels 0 and 2
    for way in (walking.forward, walking.backward):
        passed = way(400, np.random.default_rng(3))
        assert set(passed["stem"][1]) == {5, 40}
        assert set(passed["last"][1] % 32 // 4 % 4) == {0, 2}
        assert set(passed["stem"][0]) == set(passed["last"][0])


def test_with_an_edge_a_layer_it_is_one_path() -> None:
    model = build(models.choose("mlp"), input_shape=(1, 4, 4), classes=3, seed=0)
    graph = mica.trace(model, (1, 4, 4))
    for seed in range(20):
        masks = mica.sparsify(
            model, "phew-epl", graph.edges / len(graph.layers), seed, graph=graph, rounding="exact"
        )
        assert masks.kept == mica.functional(graph, masks).kept == len(graph.layers)


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "mobilenet"])
def test_more_of_its_edges_function_than_of_random_ones(name: str) -> None:
    model = build(models.choose(name), input_shape=(3, 32, 32), classes=10, seed=0)
    graph = mica.trace(model, (3, 32, 32))
    phew, random = (
        mica.functional(graph, mica.sparsify(model, f"{pruner}-igq", 1000.0, 0, graph=graph)).kept
        for pruner in ("phew", "rpi")
    )
    assert phew > 1.1 * random
