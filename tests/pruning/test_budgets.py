"""Budgets: every figure of design 4.3, and a second calculation over random shapes."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mica
from mica.errors import UserError
from mica.named import Named
from mica.pruning.budgets import allocate
from tests.oracle import budgets
from tests.oracle.budgets import RESNET20, VGG16

RULES = ["uniform", "uniform-plus", "erk", "igq", "epl", "pyramid", "smart-ratio"]
ERK_VGG16 = [39, 73, 108, 143, 212, 282, 282, 422, 562, 562, 562, 562, 562, 285]

widths = st.integers(1, 24)
convs = st.tuples(widths, widths, st.integers(1, 5), st.integers(1, 5))
networks = st.lists(convs, min_size=1, max_size=7).flatmap(
    lambda body: st.tuples(widths, widths).map(
        lambda last: {**{f"c{i}": shape for i, shape in enumerate(body)}, "fc": last}
    )
)
ratios = st.floats(0.0, 4.5).map(lambda log: 10**log)


def size(shapes: budgets.Shapes) -> int:
    return sum(map(math.prod, shapes.values()))


def test_vgg16_has_the_layers_and_edges_of_the_design() -> None:
    assert len(VGG16) == 14
    assert size(VGG16) == 14_715_584


def test_igq_on_vgg16_at_4_5() -> None:
    counts = list(allocate(VGG16, "igq", 10**4.5).values())
    assert counts == [32] + [33] * 13
    assert sum(counts) == 461


def test_erk_on_vgg16_at_3_5() -> None:
    counts = list(allocate(VGG16, "erk", 10**3.5).values())
    assert counts == ERK_VGG16
    assert sum(counts) == 4_656


def test_erk_on_vgg16_at_5_5_empties_exactly_the_first_two_layers() -> None:
    counts = list(allocate(VGG16, "erk", 10**5.5).values())
    assert counts[:2] == [0, 0]
    assert min(counts[2:]) > 0


def test_igq_on_resnet20_at_2() -> None:
    assert len(RESNET20) == 22
    assert size(RESNET20) == 270_896
    assert sum(allocate(RESNET20, "igq", 100.0).values()) == 2_696


def test_a_pyramid_takes_powers_of_one_density() -> None:
    # 64 · (1/2 + 1/4 + 1/8) = 56 of 192 edges.
    shapes = {"a": (64, 1), "b": (8, 8), "c": (1, 64)}
    assert allocate(shapes, "pyramid", 192 / 56, "exact") == {"a": 32, "b": 16, "c": 8}


def test_smart_ratio_falls_with_the_square_of_the_depth() -> None:
    # 30 of the last layer's 100; 3 · 4 to 2 · 3 for the first to the second, so 2 : 1 of the other 540.
    shapes = {"a": (100, 10), "b": (100, 10), "c": (10, 10)}
    assert allocate(shapes, "smart-ratio", 2100 / 570, "exact") == {"a": 360, "b": 180, "c": 30}


def test_smart_ratio_without_room_for_the_last_layer_s_share() -> None:
    # 3 · 4 : 2 · 3 : 1 · 2 of layers as large as each other; three tenths of the last alone would be 30.
    shapes = {"a": (10, 10), "b": (10, 10), "c": (10, 10)}
    assert allocate(shapes, "smart-ratio", 300 / 20, "exact") == {"a": 12, "b": 6, "c": 2}


def test_smart_ratio_shares_what_a_full_layer_cannot_hold() -> None:
    # Of 190 the last has 30; the first would take two thirds of 160, but holds 100.
    shapes = {"a": (10, 10), "b": (10, 10), "c": (10, 10)}
    assert allocate(shapes, "smart-ratio", 300 / 190, "exact") == {"a": 100, "b": 60, "c": 30}


def test_power_multiplies_edges_pixels_and_depth() -> None:
    # Edges in proportion to 100^(1-1/2) · 4^1/2 · 1, 400^(1-1/2) · 1 · 2 and 10^(1-1/2) · 1 · 3, in tenths.
    shapes, pixels = {"a": (10, 10), "b": (20, 20), "c": (5, 2)}, {"a": 4, "b": 1, "c": 1}
    rule = Named(name="power", options={"alpha": 0.5, "beta": 0.5, "gamma": 1.0, "classifier": 0.1})
    # The classifier has 7 of 70 edges; of the rest 20 parts to 40.
    assert allocate(shapes, rule, 510 / 70, "exact", pixels) == {"a": 21, "b": 42, "c": 7}
    by_rule = Named(name="power", options={"alpha": 0.0, "beta": 0.5})
    assert allocate(shapes, by_rule, 510 / 61, "exact", pixels) == {"a": 20, "b": 40, "c": 1}


def test_power_is_epl_by_default_and_uniform_without_exponents() -> None:
    pixels = dict.fromkeys(VGG16, 1)
    assert allocate(VGG16, "power", 1000.0, pixels=pixels) == allocate(VGG16, "epl", 1000.0)
    flat = Named(name="power", options={"alpha": 0.0})
    exact, uniform = (allocate(VGG16, rule, 1000.0, "exact", pixels) for rule in (flat, "uniform"))
    assert exact == uniform


def test_power_may_give_the_first_layer_a_share_of_its_own() -> None:
    pixels = dict.fromkeys(VGG16, 1)
    rule = Named(name="power", options={"first": 6 / 42, "classifier": 12 / 42})
    counts = allocate(VGG16, rule, 14_715_584 / 42, "exact", pixels)
    assert list(counts.values()) == [6, *[2] * 12, 12]
    alone = Named(name="power", options={"first": 0.5})
    counts = allocate(VGG16, alone, 14_715_584 / 26, "exact", pixels)
    assert list(counts.values()) == [13, *[1] * 13]
    # The first layer cannot hold its share, then the others cannot hold theirs.
    shapes, pixels = {"a": (5, 2), "b": (10, 10), "c": (5, 4)}, dict.fromkeys("abc", 1)
    assert allocate(shapes, alone, 130 / 30, "exact", pixels) == {"a": 10, "b": 10, "c": 10}
    little = Named(name="power", options={"first": 0.01, "classifier": 0.1})
    assert allocate(shapes, little, 130 / 128, "exact", pixels) == {"a": 8, "b": 100, "c": 20}
    # Of a network that is one layer the first is the last.
    assert allocate({"a": (10, 10)}, little, 2.0, "exact", {"a": 1}) == {"a": 50}
    with pytest.raises(UserError, match=r"first and classifier make 1\.1 of all edges"):
        allocate(shapes, Named(name="power", options={"first": 0.6, "classifier": 0.5}), 2.0, "exact", pixels)


def test_staged_gives_the_first_layer_of_each_stage_what_is_left() -> None:
    sides = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2, 1]
    pixels = dict(zip(VGG16, (side**2 for side in sides), strict=True))
    # Of 139 edges the classifier gets 23.6 and eight layers 4 each; a fifth of the other 83.3 is 16.7.
    counts = list(allocate(VGG16, "staged", 14_715_584 / 139, "exact", pixels).values())
    firsts = [counts[index] for index in (0, 2, 4, 7, 10)]
    assert sorted(firsts) == [16, 17, 17, 17, 17] and counts[13] == 23
    assert [counts[index] for index in (1, 3, 5, 6, 8, 9, 11, 12)] == [4] * 8
    wide = Named(name="staged", options={"width": 12, "classifier": 0.1})
    # 125.1 edges for 13 layers are less than 12 each.
    counts = list(allocate(VGG16, wide, 14_715_584 / 139, "exact", pixels).values())
    assert set(counts[:13]) == {9, 10} and sum(counts) == 139 and counts[13] == 14


def test_staged_shares_what_a_full_layer_cannot_hold() -> None:
    shapes = {"a": (5, 2), "b": (10, 5), "c": (10, 10), "d": (4, 10)}
    pixels = {"a": 4, "b": 4, "c": 1, "d": 1}
    rule = Named(name="staged", options={"width": 10, "classifier": 0.2})
    # 20 for the last; of the other 80, 10 for b and 35 each for a and c. But a has room for 10: the other 70
    # go as 10 to 35.
    assert allocate(shapes, rule, 2.0, "exact", pixels) == {"a": 10, "b": 16, "c": 54, "d": 20}
    assert allocate({"a": (10, 10)}, "staged", 2.0, "exact", {"a": 1}) == {"a": 50}


def test_a_classifier_that_cannot_hold_its_share_leaves_the_rest_to_others() -> None:
    shapes, pixels = {"a": (10, 10), "b": (5, 2)}, {"a": 1, "b": 1}
    rule = Named(name="power", options={"classifier": 0.9})
    assert allocate(shapes, rule, 110 / 40, "exact", pixels) == {"a": 30, "b": 10}


def test_a_distribution_that_needs_pixels_says_so() -> None:
    with pytest.raises(ValueError, match="'power' needs each layer's pixels"):
        allocate(VGG16, "power", 10.0)


def test_balanced_is_the_same_number_of_edges_for_each_layer() -> None:
    assert allocate(VGG16, "balanced", 1000.0) == allocate(VGG16, "epl", 1000.0)


@pytest.mark.parametrize("shapes", [VGG16, RESNET20], ids=["vgg16", "resnet20"])
@pytest.mark.parametrize("log", [half / 4 for half in range(1, 25)])
def test_the_papers_networks_at_every_ratio(shapes: budgets.Shapes, log: float) -> None:
    ratio = 10**log
    assert allocate(shapes, "igq", ratio) == budgets.igq(shapes, ratio)
    for rule in ("erk", "epl", "uniform"):
        allowed = budgets.floors(getattr(budgets, rule)(shapes, ratio))
        counts = allocate(shapes, rule, ratio)
        assert all(counts[name] in allowed[name] for name in shapes), (rule, counts, allowed)


@given(networks, ratios)
@settings(max_examples=150)
def test_floor_budgets_agree_with_a_second_calculation(shapes: budgets.Shapes, ratio: float) -> None:
    assert allocate(shapes, "igq", ratio) == budgets.igq(shapes, ratio)
    for rule in ("erk", "epl", "uniform"):
        allowed = budgets.floors(getattr(budgets, rule)(shapes, ratio))
        counts = allocate(shapes, rule, ratio)
        assert list(counts) == list(shapes)
        assert all(counts[name] in allowed[name] for name in shapes), (rule, counts, allowed)


@given(networks, st.floats(0.05, 4.0))
@settings(max_examples=100)
def test_uniform_plus_keeps_the_first_conv_dense_and_a_fifth_of_the_last(
    shapes: budgets.Shapes, log: float
) -> None:
    ratio, first, last = 10**log, next(iter(shapes)), "fc"
    fixed = math.prod(shapes[first]) + 0.2 * math.prod(shapes[last])
    counts = allocate(shapes, "uniform-plus", ratio)
    assert all(0 <= counts[name] <= math.prod(shape) for name, shape in shapes.items())
    if fixed > size(shapes) / ratio - 1:
        return
    assert counts[first] == math.prod(shapes[first])
    assert counts[last] >= math.floor(0.2 * math.prod(shapes[last]))
    assert abs(sum(counts.values()) - size(shapes) / ratio) <= len(shapes) + 1
    middle = {name: math.prod(shape) for name, shape in shapes.items() if name not in (first, last)}
    lowest = max((counts[name] / n for name, n in middle.items()), default=0)
    highest = min(((counts[name] + 1) / n for name, n in middle.items()), default=1)
    assert lowest <= highest + 1e-9, "the layers between share one density"


@given(networks, ratios, st.sampled_from(RULES))
@settings(max_examples=150)
def test_exact_budgets_have_exactly_the_sum_asked_for(
    shapes: budgets.Shapes, ratio: float, rule: str
) -> None:
    wanted = size(shapes) / ratio
    counts = allocate(shapes, rule, ratio, rounding="exact")
    assert list(counts) == list(shapes)
    assert sum(counts.values()) in {round(wanted), round(wanted + 1e-9), round(wanted - 1e-9)}
    assert all(0 <= counts[name] <= math.prod(shape) for name, shape in shapes.items())
    assert min(counts.values()) >= (1 if sum(counts.values()) >= len(shapes) else 0)
    assert all(type(count) is int for count in counts.values())


@pytest.mark.parametrize("rounding", ["floor", "exact"])
@pytest.mark.parametrize("rule", RULES)
def test_budgets_list_the_layers_in_the_networks_order(rule: str, rounding: str) -> None:
    assert list(allocate(RESNET20, rule, 30.0, rounding=rounding)) == list(RESNET20)


@pytest.mark.parametrize("rule", ["uniform", "erk", "igq", "epl"])
@pytest.mark.parametrize("log", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_exact_and_floor_budgets_differ_by_rounding_only(rule: str, log: float) -> None:
    exact, floor = (allocate(VGG16, rule, 10**log, rounding=kind) for kind in ("exact", "floor"))
    assert max(abs(exact[name] - floor[name]) for name in VGG16) <= 2


@given(networks, st.sampled_from(RULES), st.sampled_from(["floor", "exact"]))
@settings(max_examples=100)
def test_a_ratio_of_one_keeps_everything(shapes: budgets.Shapes, rule: str, rounding: str) -> None:
    counts = allocate(shapes, rule, 1.0, rounding=rounding)
    assert counts == {name: math.prod(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("rule", RULES)
def test_a_budget_below_one_edge_a_layer_still_sums_exactly(rule: str) -> None:
    ratio = size(VGG16) / 5
    assert sum(allocate(VGG16, rule, ratio, rounding="exact").values()) == 5


def test_an_unknown_distribution_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="erk"):
        allocate(VGG16, "erq", 10.0)


@pytest.mark.parametrize("rounding", ["floor", "exact"])
@pytest.mark.parametrize("method", ["rpi-erk", "rpi-igq", "mica-igq", "magnitude-igq"])
def test_sparsify_keeps_each_layer_to_its_budget(method: str, rounding: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(12, 20, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(20, 10),
    )  # fmt: skip
    shapes = {name: layer.shape for name, layer in mica.trace(model, (3, 8, 8)).layers.items()}
    ratio = 10 ** random.Random(rounding + method).uniform(0.3, 1.7)
    masks = mica.sparsify(model, method, ratio, 0, input_shape=(3, 8, 8), rounding=rounding)
    assert masks.counts() == allocate(shapes, method.split("-")[1], ratio, rounding=rounding)


@pytest.mark.parametrize("log", [0.5, 1.3, 2.0, 2.6])
def test_a_ranking_pruners_global_mask_has_the_reference_count(log: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.ReLU(), torch.nn.Linear(40, 10))
    ratio, n = 10**log, 1600
    floor = mica.sparsify(model, "rbpi-magnitude", ratio, 0, input_shape=(30,))
    assert floor.kept == n - math.floor(n * (1 - 1 / ratio))
    exact = mica.sparsify(model, "rbpi-magnitude", ratio, 0, input_shape=(30,), rounding="exact")
    assert exact.kept == round(n / ratio)
