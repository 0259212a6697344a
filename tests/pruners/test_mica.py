"""What MiCA promises (design 4.5), read off the masks alone, on random networks and budgets."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mica
from mica.pruners.connection import draw
from mica.pruners.connection.draw import choose
from mica.pruners.connection.node_counts import _count
from mica.pruning.budgets import allocate
from tests.oracle.networks import OracleNet, random_network
from tests.oracle.paths import functional_edges, open_places

node_counts = st.sampled_from(["random", "max", "min"])
any_counts = st.sampled_from(["random", "max", "min", "only_V_in", "ignore"])
roundings = st.sampled_from(["floor", "exact"])
rules = st.sampled_from(["erk", "igq", "uniform", "uniform-plus", "epl"])
seeds = st.integers(0, 2**31)
quick = settings(max_examples=80)


def outputs(mask: Tensor) -> set[int]:
    """The output channels that have an edge."""
    return set(mask.flatten(1).any(1).nonzero().flatten().tolist())


def inputs(mask: Tensor) -> set[int]:
    """The input channels that have an edge (no groups)."""
    return set(mask.transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist())


def vgg_like(widths: list[int], classes: int, pools: set[int] = frozenset()) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index, (narrow, wide) in enumerate(itertools.pairwise([3, *widths])):
        parts += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        parts += [nn.MaxPool2d(2)] if index in pools else []
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def mlp(widths: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(widths):
        parts += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


@given(seeds, rules, st.floats(0, 2.5), any_counts, roundings)
@settings(max_examples=120)
def test_every_layer_ends_with_exactly_its_budget(
    seed: int, rule: str, log: float, counts: str, rounding: str
) -> None:
    net = random_network(seed)
    masks = mica.sparsify(
        net,
        f"mica(node_counts={counts})-{rule}",
        10**log,
        seed,
        input_shape=net.input_shape,
        rounding=rounding,
    )
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == net.weights()
    shapes = mica.trace(net, net.input_shape).shapes
    assert masks.counts() == allocate(shapes, rule, 10**log, rounding=rounding)


@given(seeds, rules, st.floats(0.2, 1.8), node_counts)
@settings(max_examples=120)
def test_no_edge_is_left_without_function_while_its_layer_has_a_place_for_it(
    seed: int, rule: str, log: float, counts: str
) -> None:
    net = random_network(seed, most_pixels=5)
    masks = mica.sparsify(
        net,
        f"mica(node_counts={counts})-{rule}",
        10**log,
        seed,
        input_shape=net.input_shape,
        rounding="exact",
    )
    functional = functional_edges(net, masks)
    wasted = {name for name in masks if masks.counts()[name] > sum(edge[0] == name for edge in functional)}
    missed = {edge for edge in open_places(net, masks) if edge[0] in wasted}
    assert not missed, f"layers {wasted} waste edges while {len(missed)} places are open"


@given(st.lists(st.sampled_from([8, 12, 16, 24]), min_size=2, max_size=7).map(sorted), st.integers(2, 12),
       st.sampled_from(["erk", "igq"]), st.floats(0.3, 2.6), seeds, node_counts, roundings)  # fmt: skip
@quick
def test_on_vgg_like_chains_all_edges_function_wherever_every_layer_has_one(
    widths: list[int], classes: int, rule: str, log: float, seed: int, counts: str, rounding: str
) -> None:
    model = vgg_like(widths, classes, pools={1})
    graph = mica.trace(model, (3, 8, 8))
    budget = allocate(graph.shapes, rule, 10**log, rounding=rounding)
    assume(min(budget.values()) >= 1 and fits(list(graph.shapes.values()), list(budget.values())))
    masks = mica.sparsify(
        model, f"mica(node_counts={counts})-{rule}", 10**log, seed, input_shape=(3, 8, 8), rounding=rounding
    )
    assert mica.functional(graph, masks).kept == masks.kept


def fits(shapes: list[tuple[int, ...]], budget: list[int]) -> bool:
    """Could every edge of a chain function at all? A channel between two layers takes an edge of each."""
    wide = [min(e, after, shape[0]) for shape, e, after in zip(shapes, budget, budget[1:], strict=False)]
    wide = [shapes[0][1], *wide, shapes[-1][0]]
    room = [math.prod(shape[2:]) * a * b for shape, a, b in zip(shapes, wide, wide[1:], strict=False)]
    return all(e <= places for e, places in zip(budget, room, strict=True))


@pytest.mark.parametrize("method", ["mica-erk", "mica-igq"])
@pytest.mark.parametrize("log", [1.0, 2.5, 3.5])
def test_a_vgg16_of_quarter_width_is_wholly_functional(method: str, log: float) -> None:
    widths = [width // 4 for width in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)]
    model = vgg_like(widths, 10, pools={1, 3, 6, 9})
    graph = mica.trace(model, (3, 32, 32))
    for seed in range(3):
        masks = mica.sparsify(model, method, 10**log, seed, input_shape=(3, 32, 32), graph=graph)
        assert min(masks.counts().values()) >= 1
        assert mica.functional(graph, masks).kept == masks.kept, seed


def chosen(shapes: list[tuple[int, ...]], budget: list[int], counts: str) -> list[int]:
    """|V_out| of every layer of a chain, last to first, for the options `max` and `min` (equation 3)."""
    wanted, result = shapes[-1][0], []
    for shape, edges in zip(reversed(shapes), reversed(budget), strict=True):
        outs = min(wanted, edges, shape[0])
        result.append(outs)
        low, high = math.ceil(edges / outs), edges // math.prod(shape[2:])
        wanted = min(high if counts == "max" and edges / outs <= high else low, shape[1])
    return result[::-1]


def room(shapes: list[tuple[int, ...]], outs: list[int]) -> list[int]:
    """How many edges each layer of a chain holds between its chosen nodes."""
    ins = [shapes[0][1], *outs]
    return [math.prod(shape[2:]) * a * b for shape, a, b in zip(shapes, ins, outs, strict=False)]


@given(st.lists(st.integers(2, 14), min_size=3, max_size=6), rules, st.floats(0.05, 1.5), seeds,
       st.sampled_from(["max", "min"]))  # fmt: skip
@quick
def test_an_mlp_uses_exactly_the_nodes_that_were_chosen(
    widths: list[int], rule: str, log: float, seed: int, counts: str
) -> None:
    """As far as masks show it: while its edges fit between them, no layer uses another node."""
    masks = mica.sparsify(
        mlp(widths),
        f"mica(node_counts={counts})-{rule}",
        10**log,
        seed,
        input_shape=(widths[0],),
        rounding="exact",
    )
    shapes, budget = [tuple(mask.shape) for mask in masks.values()], list(masks.counts().values())
    assume(min(budget) >= 1)
    outs = chosen(shapes, budget, counts)
    assume(all(edges <= places for edges, places in zip(budget, room(shapes, outs), strict=True)))
    assert [len(outputs(mask)) for mask in masks.values()] == outs


@given(st.lists(st.sampled_from([6, 9, 14]), min_size=2, max_size=4), st.floats(0.3, 1.6), seeds,
       st.sampled_from(["max", "min"]))  # fmt: skip
@quick
def test_a_conv_chain_leaves_no_edge_outside_the_chosen_channels(
    widths: list[int], log: float, seed: int, counts: str
) -> None:
    """At most the chosen ones: where a border cuts a channel's only edge off, that edge moves on."""
    masks = mica.sparsify(
        vgg_like(widths, 5),
        f"mica(node_counts={counts})-erk",
        10**log,
        seed,
        input_shape=(3, 9, 9),
        rounding="exact",
    )
    shapes, budget = [tuple(mask.shape) for mask in masks.values()], list(masks.counts().values())
    assume(min(budget) >= 1)
    outs = chosen(shapes, budget, counts)
    assume(all(edges <= places for edges, places in zip(budget, room(shapes, outs), strict=True)))
    used = [len(outputs(mask)) for mask in masks.values()]
    assert all(found <= wanted for found, wanted in zip(used, outs, strict=True)), (used, outs)
    assert sum(used) >= sum(outs) - 2


def minimum_connection(masks: Mapping[str, Tensor]) -> None:
    """Between two layers of a chain every channel that is written is read, and none else is."""
    for earlier, later in itertools.pairwise(masks.values()):
        assert outputs(earlier) == inputs(later)


@given(st.lists(st.sampled_from([8, 12, 20]), min_size=2, max_size=5).map(sorted),
       st.sampled_from(["erk", "igq"]), st.floats(0.3, 1.8), seeds)  # fmt: skip
@quick
def test_every_channel_written_is_read(widths: list[int], rule: str, log: float, seed: int) -> None:
    model = vgg_like(widths, 10)
    masks = mica.sparsify(model, f"mica-{rule}", 10**log, seed, input_shape=(3, 9, 9), rounding="exact")
    budget = list(masks.counts().values())
    assume(min(budget) >= 1 and fits([tuple(mask.shape) for mask in masks.values()], budget))
    minimum_connection(masks)
    *_, last = masks.values()
    first = next(iter(masks.values()))
    if budget[0] >= 3:
        assert inputs(first) == {0, 1, 2}, "step 1 gives every live input channel an edge"
    if budget[-1] >= max(10, len(inputs(last))):
        assert outputs(last) == set(range(10)), "step 2 gives every class an edge"


def test_an_image_channel_is_read_before_any_is_read_twice() -> None:
    model = nn.Sequential(nn.Conv2d(40, 30, 1), nn.ReLU(), nn.Flatten(), nn.Linear(30 * 16, 3))
    for seed in range(5):
        masks = mica.sparsify(model, "mica-epl", (1200 + 90 * 16) / 80, seed, input_shape=(40, 4, 4),
                              rounding="exact")  # fmt: skip
        assert masks.counts()["0"] == 40
        assert len(inputs(masks["0"])) == 40


class Residual(nn.Module):
    """Two blocks with identity sums behind one stem; 1×1 kernels, so that no border interferes."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.first = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        self.second = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.first(x) + x)
        x = torch.relu(self.second(x) + x)
        return self.head(x.mean([2, 3]))


@pytest.mark.parametrize("log", [0.7, 0.9, 1.1])
def test_layers_whose_outputs_are_added_share_their_channels(log: float) -> None:
    model = Residual()
    for seed in range(6):
        masks = mica.sparsify(model, "mica-erk", 10**log, seed, input_shape=(3, 4, 4), rounding="exact")
        written = [outputs(masks[name]) for name in ("stem", "first.2", "second.2")]
        assert set().union(*written) == max(written, key=len)
        assert mica.functional(mica.trace(model, (3, 4, 4)), masks).kept == masks.kept


def test_which_channels_are_chosen_is_random() -> None:
    model = Residual()
    chosen_sets = {
        frozenset(outputs(mica.sparsify(model, "mica-erk", 20, seed, input_shape=(3, 4, 4))["stem"]))
        for seed in range(8)
    }
    assert len(chosen_sets) >= 7
    assert len(frozenset.union(*chosen_sets)) >= 20


def test_node_counts_outside_equation_3() -> None:
    """27 edges to 5 outputs from 20 channels of 9 positions: from 6 to 3 channels by the equation."""
    rng = np.random.default_rng(0)
    found = {
        counts: {_count(27, 5, 20, 9, counts, rng) for _ in range(400)}
        for counts in ("random", "only_V_in", "ignore")
    }
    assert found == {"random": {6}, "only_V_in": {1, 2, 3}, "ignore": set(range(1, 21))}


def test_node_counts_grow_from_min_over_random_to_max() -> None:
    model = mlp([30, 30, 30, 30, 10])
    used = {}
    for counts in ("min", "random", "max"):
        masks = [mica.sparsify(model, f"mica(node_counts={counts})-uniform", 15, seed, input_shape=(30,))
                 for seed in range(6)]  # fmt: skip
        used[counts] = sum(len(outputs(mask)) for each in masks for mask in list(each.values())[:-1])
    assert used["min"] < used["random"] < used["max"]


def test_mica_loses_fewer_edges_than_random_pruning() -> None:
    kept = {"mica": 0, "rpi": 0}
    for seed in range(40):
        net = random_network(seed)
        graph = mica.trace(net, net.input_shape)
        for pruner in kept:
            masks = mica.sparsify(net, f"{pruner}-erk", 6, seed, input_shape=net.input_shape, graph=graph)
            kept[pruner] += mica.functional(graph, masks).kept
    assert kept["mica"] > 1.3 * kept["rpi"]


@pytest.mark.parametrize("rule", ["erk", "igq", "uniform", "epl"])
def test_a_ratio_of_one_keeps_every_edge(rule: str) -> None:
    net = random_network(4)
    masks = mica.sparsify(net, f"mica-{rule}", 1, 0, input_shape=net.input_shape)
    assert masks.kept == masks.total


def test_an_empty_layer_leaves_the_others_their_budget() -> None:
    model = vgg_like([6, 8, 300], 3)
    masks = mica.sparsify(model, "mica-erk", 4000, 0, input_shape=(3, 6, 6))
    assert 0 in masks.counts().values()
    assert masks.counts() == allocate({n: tuple(m.shape) for n, m in masks.items()}, "erk", 4000)
    assert masks.kept > 0


@pytest.fixture(scope="module")
def best_of_all_masks() -> dict[tuple[int, ...], int]:
    """Budget → the most functional edges of any mask, for the MLP 3-2-2-2, by looking at all 2^14 masks."""
    best: dict[tuple[int, ...], int] = {}
    layers = [list(itertools.product([0, 1], repeat=n)) for n in (6, 4, 4)]
    for a, b, c in itertools.product(*layers):
        live1 = [any(a[3 * o : 3 * o + 3]) for o in (0, 1)]
        live2 = [any(b[2 * o + i] and live1[i] for i in (0, 1)) for o in (0, 1)]
        read2 = [c[i] or c[2 + i] for i in (0, 1)]
        read1 = [any(b[2 * o + i] and read2[o] for o in (0, 1)) for i in (0, 1)]
        count = sum(a[3 * o + i] and read1[o] for o in (0, 1) for i in range(3))
        count += sum(b[2 * o + i] and live1[i] and read2[o] for o in (0, 1) for i in (0, 1))
        count += sum(c[2 * o + i] and live2[i] for o in (0, 1) for i in (0, 1))
        budget = (sum(a), sum(b), sum(c))
        best[budget] = max(best.get(budget, 0), count)
    return best


@pytest.mark.parametrize("rule", ["erk", "igq", "uniform", "epl"])
@pytest.mark.parametrize("total", range(3, 14))
def test_the_smallest_mlp_reaches_the_most_that_any_mask_of_its_budget_can(
    best_of_all_masks: dict[tuple[int, ...], int], rule: str, total: int
) -> None:
    model = mlp([3, 2, 2, 2])
    graph = mica.trace(model, (3,))
    reached = []
    for seed in range(4):
        masks = mica.sparsify(model, f"mica-{rule}", 14 / total, seed, input_shape=(3,), rounding="exact")
        reached.append(mica.functional(graph, masks).kept)
    assert max(reached) == best_of_all_masks[tuple(masks.counts().values())]


def test_the_oracle_sees_open_places() -> None:
    """So that the check for waste can fail: of a 3×3 kernel on a 1×2 image six places see padding only."""
    net = OracleNet((1, 1, 2))
    net.flatten(net.conv(0, 1, padding=1))
    mask = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    mask[0, 0, 1, 1] = mask[0, 0, 0, 0] = True
    found = open_places(net, {"steps.conv1": mask})
    assert found == {("steps.conv1", 0, 0, 1, 0), ("steps.conv1", 0, 0, 1, 2)}


@pytest.mark.parametrize("rounding", ["floor", "exact"])
def test_grouped_layers_end_with_their_budget_when_one_group_has_no_chosen_output(rounding: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 2, 3, padding=1, groups=2), nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    shapes = mica.trace(model, (4, 5, 5)).shapes
    for rule in ("uniform-plus", "epl", "uniform"):
        for ratio in (1.05, 1.5, 3.0, 6.5, 9.0):
            masks = mica.sparsify(model, f"mica-{rule}", ratio, 0, input_shape=(4, 5, 5), rounding=rounding)
            assert masks.counts() == allocate(shapes, rule, ratio, rounding=rounding), (rule, ratio)


@pytest.mark.parametrize("rule", ["erk", "igq"])
def test_depthwise_chains_stay_functional_down_to_the_last_edges(rule: str) -> None:
    parts: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for narrow, wide in ((8, 12), (12, 16)):
        depthwise = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow)
        parts += [depthwise, nn.ReLU(), nn.Conv2d(narrow, wide, 1)]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    graph = mica.trace(model, (3, 8, 8))
    for log, least in ((0.5, 1.0), (1.0, 1.0), (1.6, 0.7), (2.0, 0.5)):
        for seed in range(5):
            masks = mica.sparsify(model, f"mica-{rule}", 10**log, seed, graph=graph, rounding="exact")
            assert min(masks.counts().values()) >= 1
            assert mica.functional(graph, masks).kept >= least * masks.kept, (log, seed)


class GroupsBehindConcatenation(nn.Module):
    """A grouped conv reads two convs side by side: the group that is used must be one that is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1)
        self.grouped, self.after = nn.Conv2d(5, 10, 1, groups=5), nn.Conv2d(10, 3, 1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1)
        return self.head(self.after(torch.relu(self.grouped(x))).mean([2, 3]))


def test_groups_behind_a_concatenation_do_not_collapse_while_every_layer_has_an_edge() -> None:
    model = GroupsBehindConcatenation()
    graph = mica.trace(model, (2, 4, 4))
    for seed in range(40):
        masks = mica.sparsify(model, "mica-igq", 62 / 6, seed, input_shape=(2, 4, 4), rounding="exact")
        assert min(masks.counts().values()) >= 1
        assert mica.functional(graph, masks).kept > 0, seed


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_many_edges_too_are_chosen_with_equal_chances(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "_FEW", 0)
    sets = list(itertools.combinations(range(5), count))
    rng, draws = np.random.default_rng(count), 400 * len(sets)
    found = Counter(tuple(choose(count, 5, rng).tolist()) for _ in range(draws))
    assert set(found) == set(sets)
    chi_square = sum((found[each] - 400) ** 2 / 400 for each in sets)
    assert chi_square < 30  # of at most 9 degrees of freedom: one in two thousand


@pytest.mark.parametrize("ratio", [1.01, 1.6, 3.0])
def test_a_large_layer_gets_its_budget_without_repeats(ratio: float) -> None:
    model = mlp([500, 600, 7])
    masks = mica.sparsify(model, "mica-uniform", ratio, 0, input_shape=(500,))
    assert masks.counts() == allocate({n: tuple(m.shape) for n, m in masks.items()}, "uniform", ratio)
