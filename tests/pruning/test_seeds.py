"""One seed, one mask; the networks stay as they were."""

import pytest
import torch
from torch import Tensor, nn

import mica

RULES = ["erk", "igq", "uniform", "uniform-plus", "epl", "pyramid", "smart-ratio", "snip", "grasp", "synflow"]
RANDOM = [
    f"{pruner}-{rule}" for pruner in ("rpi", "mica", "phew", "edge_addition", "resampling") for rule in RULES
]
RANDOM.append("rbpi-ntk_sap(iterations=3)")
FIXED = [*[f"rbpi-{name}" for name in ("snip", "grasp", "synflow", "magnitude")], "snip-erk", "magnitude-igq"]
FIXED += [
    "rbpi-lamp",
    "rbpi-iterative_snip(iterations=4)",
    "rbpi-force(iterations=4)",
    "rbpi-px(iterations=4)",
]


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip


def data() -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(1)
    return torch.randn(40, 3, 8, 8, generator=noise), torch.arange(40) % 4


def prune(network: nn.Module, method: str, seed: int, **options) -> mica.Masks:
    return mica.sparsify(network, method, 4.0, seed, input_shape=(3, 8, 8), data=data(), **options)


def same(one: mica.Masks, other: mica.Masks) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", RANDOM + FIXED)
def test_a_mask_is_the_same_again_from_its_seed(method: str) -> None:
    network = model()
    first = prune(network, method, 7)
    torch.manual_seed(12345)
    torch.rand(17)
    assert same(first, prune(network, method, 7))


@pytest.mark.parametrize("method", RANDOM)
def test_another_seed_gives_another_mask(method: str) -> None:
    network = model()
    masks = [prune(network, method, seed) for seed in range(4)]
    assert not any(same(masks[i], masks[j]) for i in range(4) for j in range(i))
    counts = {tuple(each.counts().values()) for each in masks}
    assert len(counts) == 1 or method.startswith("rbpi-"), "places alone are random, budgets are not"


@pytest.mark.parametrize("method", FIXED)
def test_a_ranking_mask_depends_on_weights_not_on_the_seed(method: str) -> None:
    assert same(prune(model(0), method, 0), prune(model(0), method, 1))
    assert not same(prune(model(0), method, 0), prune(model(1), method, 0))


@pytest.mark.parametrize("method", RANDOM + FIXED)
def test_sparsify_touches_neither_the_network_nor_the_global_random_stream(method: str) -> None:
    network = model().train()
    network[1].running_mean.uniform_(-1, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(99)
    prune(network, method, 3)
    after = torch.rand(5)
    torch.manual_seed(99)
    assert torch.equal(after, torch.rand(5))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(module.training for module in network.modules())


def test_random_pruning_chooses_uniformly_within_a_layer() -> None:
    network = nn.Sequential(nn.Linear(6, 5))
    hits = sum(
        mica.sparsify(network, "rpi-uniform", 3, seed, input_shape=(6,))["0"].int() for seed in range(450)
    )
    assert abs(hits - 150).max() < 5 * (450 * (1 / 3) * (2 / 3)) ** 0.5


@pytest.mark.parametrize("source", ["erk", "igq", "snip", "grasp", "synflow"])
def test_a_corrected_budget_is_the_functional_counts_of_its_source(source: str) -> None:
    network = model()
    graph = mica.trace(network, (3, 8, 8))
    pruner = "rpi" if source in ("erk", "igq") else "rbpi"
    for seed in (0, 1):
        wanted = mica.functional(graph, prune(network, f"{pruner}-{source}", seed)).counts()
        assert prune(network, f"mica-{source}", seed, budget="corrected").counts() == wanted


def test_a_distribution_by_scores_is_the_layer_counts_of_the_global_mask() -> None:
    network = model()
    for name in ("snip", "grasp", "synflow", "magnitude"):
        wanted = prune(network, f"rbpi-{name}", 0).counts()
        assert prune(network, f"rpi-{name}", 0).counts() == wanted
        assert prune(network, f"mica-{name}", 0).counts() == wanted


def test_apply_zeroes_pruned_weights_and_keeps_them_zero_through_training() -> None:
    network = model().train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    masks = prune(network, "mica-erk", 0)
    mica.apply(network, masks)
    for name, mask in masks.items():
        assert torch.equal(network.get_submodule(name).weight, before[f"{name}.weight"] * mask)
    images, labels = data()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    for _ in range(4):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    for name, mask in masks.items():
        weight = network.get_submodule(name).weight
        assert not weight[~mask].any()
        assert weight[mask].all()
        assert not torch.equal(weight, before[f"{name}.weight"] * mask)


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [
        ("rpi-erq", {}, "erk"),
        ("nothing-erk", {}, "mica"),
        ("rpi", {}, "rpi"),
        ("rpi-global", {}, "global"),
        ("rpi-erk", {"rounding": "up"}, "floor"),
        ("mica(node_counts=most)-erk", {}, "random"),
        ("rpi-erk", {"budget": "real"}, "nominal"),
    ],
)
def test_wrong_names_are_errors_that_say_what_is_allowed(method: str, options: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        prune(model(), method, 0, **options)


def test_a_ratio_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"0\.5"):
        mica.sparsify(model(), "rpi-erk", 0.5, 0, input_shape=(3, 8, 8))


def test_a_pruner_that_scores_images_says_that_it_needs_them() -> None:
    with pytest.raises(ValueError, match=r"data|images"):
        mica.sparsify(model(), "rbpi-snip", 4.0, 0, input_shape=(3, 8, 8))
