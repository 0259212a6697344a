"""Which edges stay, against a plain stable sort."""

import math

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.errors import NumericError
from mica.pruners import Network, Ranking, RankingPruner
from mica.pruners.scores.top_k import _keep_highest, rank_globally

KINDS = ["normal", "skewed", "few values", "constant", "periodic"]


def values(kind: str, count: int) -> Tensor:
    torch.manual_seed(len(kind))
    noise = torch.randn(count, dtype=torch.float64)
    return {
        "normal": noise,
        "skewed": (noise * 8).exp(),
        "few values": noise.round(),
        "constant": torch.zeros_like(noise),
        "periodic": torch.arange(count, dtype=torch.float64) % 225,
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[7], [1, 5, 0, 60], [3, 200_000, 1, 90_001]])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.93, 1.0])
def test_the_highest_stay_and_of_equals_the_earlier(kind: str, sizes: list[int], share: float) -> None:
    scores = values(kind, sum(sizes))
    pruned = torch.rand(len(scores)) < 0.3
    scores[pruned] = float(scores.min()) - (kind == "normal")  # also as low as a kept one
    count = int(share * int((~pruned).sum()))
    order = scores.masked_fill(pruned, -math.inf).sort(descending=True, stable=True).indices
    wanted = torch.zeros_like(pruned)
    wanted[order[:count]] = True
    kept = ~pruned
    _keep_highest(list(scores.split(sizes)), list(kept.split(sizes)), count)
    assert torch.equal(kept, wanted)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_kept_edges_score_must_be_finite_and_a_pruned_ones_need_not(bad: float) -> None:
    scores, kept = torch.tensor([1.0, bad, 3.0]), torch.tensor([True, True, True])
    with pytest.raises(NumericError, match="not all finite"):
        _keep_highest([scores], [kept], 1)
    kept[1] = False
    _keep_highest([torch.tensor([1.0, -math.inf, 3.0])], [kept], 1)
    assert kept.tolist() == [False, False, True]


def test_a_pruner_of_ones_own_in_five_lines_prunes_in_several_rounds() -> None:
    seen: list[int] = []

    def score(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(sum(int(weight.count_nonzero()) for weight in weights.values()))
        return {name: 1 / weight - 5 for name, weight in weights.items()}  # infinite where pruned

    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.1, 1.0)
    network = Network(model=model, graph=mica.trace(model, (6,)))
    masks = rank_globally(Ranking(RankingPruner(score, iterations=4), {}), network, [40, 20, 10, 5])
    assert seen == [80, 40, 20, 10] and masks.kept == 5
    flat = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()])
    kept = torch.cat([masks["0"].flatten(), masks["2"].flatten()])
    assert flat[kept].max() <= flat[~kept].min()
