"""Functions of a user's own: what they are given, and who is blamed for what they return."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import mica
from mica.errors import NumericError, UserError
from mica.models import build
from mica.trial import open_data
from tests.trial.sample import tiny

SOURCE = '''
import torch
from torch import nn
from mica.pruners import placing, ranking


def shares(shapes, ratio, steepness: float = 1.0):
    return {name: 1 / ratio for name in shapes}


def too_dense(shapes, ratio):
    return {name: 1.5 for name in shapes}


def negative(shapes, ratio):
    return {name: -0.1 for name in shapes}


def not_a_number(shapes, ratio):
    return {name: float("nan") for name in shapes}


def words(shapes, ratio):
    return {name: "half" for name in shapes}


def a_layer_short(shapes, ratio):
    return {name: 1 / ratio for name in list(shapes)[1:]}


def one_number(shapes, ratio):
    return 1 / ratio


def first(budget, shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.view(-1)[:budget] = True
    return mask


@placing()
def first_edges(graph, budget):
    """A plain dict is right too, if it is right, whatever its order."""
    return {name: first(budget[name], shape) for name, shape in reversed(graph.shapes.items())}


@placing()
def largest(budget, weights, rng):
    """The largest weights of each layer; meanwhile it spoils all that it was given."""
    masks = {}
    for name, weight in weights.items():
        size = weight.abs().flatten()
        masks[name] = torch.zeros_like(size, dtype=torch.bool)
        masks[name][size.topk(budget[name]).indices] = True
        masks[name] = masks[name].view_as(weight)
        weight.zero_()
    budget.clear()
    return masks


@placing()
def cheat(graph, budget):
    """One edge too many, and the budget changed to match."""
    budget["0"] += 1
    return {name: first(budget[name], shape) for name, shape in graph.shapes.items()}


@placing()
def floats(graph, budget):
    return {name: first(budget[name], shape).float() for name, shape in graph.shapes.items()}


@placing()
def flat(graph, budget):
    return {name: first(budget[name], shape).flatten() for name, shape in graph.shapes.items()}


@placing()
def short(graph, budget):
    return {name: first(budget[name], shape) for name, shape in list(graph.shapes.items())[1:]}


@placing()
def nothing(graph, budget): ...


@ranking(needs_images=False)
def size(network, weights, power: float = 1.0):
    return {name: (weight.abs() ** power).requires_grad_() for name, weight in weights.items()}


@ranking(needs_images=False)
def whole(weights):
    """Whole numbers, as a score may be."""
    return {name: torch.arange(w.numel()).view(w.shape) for name, w in weights.items()}


@ranking(needs_images=False)
def summed(network, weights):
    return {name: weight.sum() for name, weight in weights.items()}


@ranking(needs_images=False)
def gap(network, weights):
    return {name: weight for name, weight in list(weights.items())[1:]}


@ranking(needs_images=False)
def array(network, weights):
    return {name: weight.numpy() for name, weight in weights.items()}


@ranking(needs_images=False)
def listed(network, weights):
    return list(weights.values())


@ranking(needs_images=False)
def nan(network, weights):
    return {name: weight * float("nan") for name, weight in weights.items()}


def net(input_shape, classes, width: int = 8, act=nn.ReLU):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), act(), nn.Linear(width, classes))


def no_net(input_shape, classes):
    return "resnet20"


def like_torchvision(*, weights=None, progress=True, **kwargs):
    assert weights is None and progress is True
    width = kwargs.get("width", 4)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, kwargs["num_classes"]))


def by_keyword(input_shape, num_classes):
    return net(input_shape, num_classes)


def no_data(size: int = 8):
    return {"images": size}
'''
MODULE = "functions_of_mine"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module above; what it registers is forgotten after the test."""
    from mica.pruners import pruners

    monkeypatch.setattr(pruners, "_entries", dict(pruners._entries))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    yield
    sys.modules.pop(MODULE, None)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))


def prune(method: str, ratio: float = 4.0, **more: object) -> mica.Masks:
    return mica.sparsify(network(), method, ratio, 0, input_shape=(20,), **more)


def line_of(function: str) -> int:
    """Where it begins, decorator included."""
    lines = SOURCE.splitlines()
    at = next(n for n, line in enumerate(lines, 1) if line.startswith(f"def {function}("))
    return at - lines[at - 2].startswith("@")


def blamed(kind: str, function: str, action: Callable[[], object], *, options: str = "") -> str:
    """The message of the one error, which names the function with its file and line."""
    with pytest.raises(UserError) as error:
        action()
    message = str(error.value)
    assert f"{kind} '{MODULE}:{function}{options}' ({MODULE}.py:{line_of(function)})" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("function", "message"), [
    ("too_dense", "gave layer '0' the density 1.5; allowed are 0 to 1"),
    ("negative", "gave layer '0' the density -0.1; allowed are 0 to 1"),
    ("not_a_number", "gave layer '0' the density nan; allowed are 0 to 1"),
    ("words", "gave layer '0' the density half; allowed are 0 to 1"),
    ("a_layer_short", "gave layer '0' the density None"),
    ("one_number", "must return layer name → density, found 0.25"),
])  # fmt: skip
def test_a_distribution_that_returns_no_densities(function: str, message: str) -> None:
    for rounding in ("floor", "exact"):
        found = blamed(
            "distribution", function, lambda r=rounding: prune(f"rpi-{MODULE}:{function}", rounding=r)
        )
        assert message in found


def test_a_distribution_that_is_right_is_a_budget() -> None:
    assert prune(f"mica-{MODULE}:shares").counts() == prune("mica-uniform").counts()
    assert prune(f"rpi-{MODULE}:shares(steepness=2)").kept == prune("rpi-uniform").kept
    with pytest.raises(
        UserError, match=r"shares' has no option 'steep': allowed are steepness; did you mean"
    ):
        prune(f"rpi-{MODULE}:shares(steep=2)")


def test_a_placing_pruner_may_return_a_plain_dict_in_any_order() -> None:
    masks = prune(f"{MODULE}:first_edges-uniform")
    assert isinstance(masks, mica.Masks)
    assert masks["0"].flatten().tolist() == [True] * 50 + [False] * 150
    assert list(masks) == list(prune("rpi-uniform")), "in the network's order, not the dict's"


@pytest.mark.parametrize(("function", "message"), [
    ("cheat", "did not place its budget: 0: found 51, expected 50"),
    ("floats", "the mask of layer '0' must be a bool tensor, found torch.float32"),
    ("flat", "its masks do not fit the network: 0: found (200,), expected (10, 20)"),
    ("short", "its masks do not fit the network: 0: found None, expected (10, 20)"),
    ("nothing", "must return masks (layer name → bool tensor), found None"),
])  # fmt: skip
def test_a_placing_pruner_that_returns_something_else(function: str, message: str) -> None:
    assert message in blamed("pruner", function, lambda: prune(f"{MODULE}:{function}-uniform"))


def test_a_placing_pruner_that_reads_weights_gets_the_initial_ones_to_itself() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = mica.sparsify(model, f"{MODULE}:largest-uniform", 4.0, 0, input_shape=(20,))
    for name in ("0", "2"):
        size, kept = before[f"{name}.weight"].abs(), masks[name]
        assert int(kept.sum()) == size.numel() // 4
        assert size[kept].min() >= size[~kept].max()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_corrected_budget_goes_with_a_placing_pruner_of_ones_own() -> None:
    graph = mica.trace(network(), (20,))
    random = prune("rpi-uniform", 20.0)
    wanted = mica.functional(graph, random).counts()
    assert sum(wanted.values()) < random.kept
    assert prune(f"{MODULE}:first_edges-uniform", 20.0, budget="corrected").counts() == wanted
    ranked = mica.functional(graph, prune("rbpi-synflow(iterations=3)", 20.0)).counts()
    found = prune(f"{MODULE}:first_edges-synflow(iterations=3)", 20.0, budget="corrected")
    assert found.counts() == ranked


@pytest.mark.parametrize(("function", "found"), [
    ("summed", "for layer '0' a tensor of shape (10, 20), found of shape ()"),
    ("gap", "for layer '0' a tensor of shape (10, 20), found None"),
    ("array", "for layer '0' a tensor of shape (10, 20), found a ndarray of shape (10, 20)"),
    ("listed", "must return layer name → scores, found a list"),
])  # fmt: skip
def test_a_ranking_pruner_that_returns_no_scores(function: str, found: str) -> None:
    for method in (f"rbpi-{MODULE}:{function}", f"{MODULE}:{function}-erk", f"mica-{MODULE}:{function}"):
        assert found in blamed("pruner", function, lambda m=method: prune(m)).replace("\n", " ")


def test_scores_that_are_not_finite_name_their_pruner() -> None:
    assert "not all finite" in blamed("pruner", "nan", lambda: prune(f"rbpi-{MODULE}:nan"))
    with pytest.raises(NumericError):
        prune(f"{MODULE}:nan-erk")


def test_scores_may_be_whole_numbers_or_part_of_a_graph_of_gradients() -> None:
    assert prune(f"rbpi-{MODULE}:size").digest() == prune("rbpi-magnitude").digest()
    assert prune(f"rbpi-{MODULE}:size(power=2)").digest() == prune("rbpi-magnitude").digest()
    assert prune(f"{MODULE}:whole-uniform")["0"].flatten().tolist() == [False] * 150 + [True] * 50


def test_the_options_of_a_pruner_stand_in_the_blame() -> None:
    method = f"{MODULE}:size(power=-1e6)-erk"
    assert blamed("pruner", "size", lambda: prune(method), options="(power=-1000000.0)")


def test_a_model_that_returns_no_network() -> None:
    def make() -> None:
        build(f"{MODULE}:no_net", input_shape=(1, 8, 8), classes=4, seed=0)

    assert "must return an nn.Module, found 'resnet20'" in blamed("model", "no_net", make)


@pytest.mark.parametrize(("name", "widths"), [
    ("net", [(8, 64), (4, 8)]), ("net(width=5)", [(5, 64), (4, 5)]), ("by_keyword", [(8, 64), (4, 8)]),
    ("like_torchvision", [(4, 64), (4, 4)]), ("like_torchvision(width=6)", [(6, 64), (4, 6)]),
])  # fmt: skip
def test_a_model_gets_what_it_names(name: str, widths: list[tuple[int, int]]) -> None:
    """Of `act` the class that is its default, not the class's name, which stands for it in the record."""
    model = build(f"{MODULE}:{name}", input_shape=(1, 8, 8), classes=4, seed=0)
    assert [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear)] == widths


def test_torchvision_s_own_network_gets_the_number_of_classes() -> None:
    name = "torchvision.models:resnet18"
    model = build(name, input_shape=(3, 32, 32), classes=7, seed=0)
    assert model.fc.out_features == 7
    assert torch.equal(model.fc.weight, build(name, input_shape=(3, 32, 32), classes=7, seed=0).fc.weight)


def test_a_data_set_that_returns_none() -> None:
    name = f"{MODULE}:no_data"
    assert "must return a mica.data.Dataset, found {'images': 8}" in blamed(
        "data set", "no_data", lambda: open_data(name)
    )
    assert "must return a mica.data.Dataset" in blamed("data set", "no_data", lambda: tiny(data=name))
