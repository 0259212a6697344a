"""Names of methods: read, written, read again; and what somebody meant who wrote another."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

import mica
from mica.errors import CodeError, UnknownName, UserError
from mica.named import Named
from mica.pruners import Network, RankingPruner, placing, pruners, ranking
from mica.pruning.distributions import Densities, Shapes, distributions
from mica.pruning.methods import DENSE, GLOBAL, choose_distribution, combine, parse_method
from mica.pruning.sparsify import source_method

OPTIONS = {
    "mica": [
        "",
        "(node_counts=max)",
        "(node_counts=min)",
        "(node_counts=only_V_in)",
        "(node_counts=ignore)",
        "(focus=2.0)",
        "(fan_in=3.0)",
        "(spread=true)",
        "(distinct=true,focus=2.0)",
    ],
    "random": [""],
    "snip": ["", "(batch_norm=train)"],
    "grasp": ["", "(batch_norm=train)"],
    "synflow": ["", "(iterations=3)"],
    "magnitude": [""],
    "lamp": [""],
    "px": ["", "(iterations=3)"],
    "ntk_sap": ["", "(epsilon=0.5,iterations=3)"],
    "edge_addition": [""],
    "resampling": [""],
    "phew": [""],
    "npb": ["", "(balance=0.2)"],
    "small_dense": [""],
    "iterative_snip": ["", "(batch_norm=train,iterations=3)"],
    "force": ["", "(iterations=3)"],
}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pruner and a distribution with every kind of option, for this test only."""
    monkeypatch.setattr(pruners, "_entries", dict(pruners._entries))
    monkeypatch.setattr(distributions, "_entries", dict(distributions._entries))

    @placing()
    def fancy(graph, budget, rng, *, note: str = "", sizes: list[int] = (), deep: dict | None = None): ...

    def uniform_fancy(shapes: Shapes, ratio: float, Steep: float = 1.0, note: str = "") -> Densities: ...

    pruners.add("Fancy", fancy)
    distributions.add("uniform-Fancy", uniform_fancy)


def is_ranker(name: str) -> bool:
    return isinstance(pruners.get(name), RankingPruner)


def test_every_pruner_has_its_options_here() -> None:
    assert set(OPTIONS) == set(pruners.names())


@pytest.mark.parametrize("pruner", OPTIONS)
def test_every_method_s_name_is_read_back(pruner: str) -> None:
    rankers = [name for name in pruners.names() if is_ranker(name)]
    shares = [*distributions.names(), GLOBAL] if is_ranker(pruner) else [*distributions.names(), *rankers]
    for options, name in product(OPTIONS[pruner], shares):
        for more in OPTIONS.get(name, [""]):
            method = combine(pruner + options, name + more)
            assert parse_method(method.name) == method
            assert parse_method(str(method)).name == method.name
            assert str(method).count("(") == bool(options) + bool(more)


def test_options_of_any_kind_stand_in_a_method_s_name(registered) -> None:
    note = 'a) - "b", c(d)=e-igq'
    pruner = {"name": "Fancy", "note": note, "sizes": [1, 2], "deep": {"a-b": [None, "(-"]}}
    for shares in ("igq", {"name": "uniform-Fancy", "Steep": 2.5, "note": note}, "synflow(iterations=7)"):
        method = combine(pruner, shares)
        assert parse_method(method.name) == method
        assert method.pruner.options["note"] == note


def test_the_case_of_options_and_of_registered_names_counts(registered) -> None:
    method = parse_method("Fancy(note=UPPER)-uniform-Fancy(Steep=2)")
    assert method.pruner.options == {"note": "UPPER"}
    assert method.distribution == distributions.choose({"name": "uniform-Fancy", "Steep": 2.0})


@pytest.mark.parametrize(("spelling", "name"), [
    ("MiCA-ERK", "mica-erk"), ("RPI-IGQ", "rpi-igq"), ("random-erk", "rpi-erk"),
    ("RbPI-SynFlow", "rbpi-synflow"),
    ("snip-global", "rbpi-snip"), ("SNIP-ERK", "snip-erk"), ("Dense", "dense"), ("mica-uniform-plus",) * 2,
    ("MiCA(node_counts=max)-IGQ", "mica(node_counts=max)-igq"), ("mica()-igq()", "mica-igq"),
    ("mica(node_counts=random)-synflow(iterations=100)", "mica-synflow"),
    ("synflow(iterations=3)-global", "rbpi-synflow(iterations=3)"),
])  # fmt: skip
def test_other_spellings(spelling: str, name: str) -> None:
    assert parse_method(spelling).name == name


@pytest.mark.parametrize(("name", "message"), [
    ("snip", "did you mean 'rbpi-snip', or mica or rpi with its layer-wise counts, 'mica-snip'?"),
    ("SNIP", "'rbpi-snip'"),
    ("rpi_erk", "did you mean 'rpi-erk'?"),
    ("MiCA ERK", "did you mean 'mica-erk'?"),
    ("mica", "did you mean 'mica-erk' or 'mica-igq'?"),
    ("rpi", "did you mean 'rpi-erk' or 'rpi-igq'?"),
    ("random", "did you mean 'rpi-erk' or 'rpi-igq'?"),
    ("", "a method is dense, rpi-DISTRIBUTION"), ("-", "a method is"), ("-erk", "a method is"),
    ("mica-", "a method is"), ("mica(node_counts=max)", "a method is"),
    ("mica(node_counts=max)igq", "a method is"),
    ("mica-ekr", "unknown distribution 'ekr'"), ("mcia-erk", "did you mean 'mica'?"),
    ("mica-ekr", "or, for a ranking pruner's layer-wise counts, grasp, snip, "),
    ("rbpi-erk", "unknown pruner 'erk'"), ("dense-erk", "dense is no pruner but a method"),
    ("mica-global", "pruner 'mica' ranks nothing"),
    ("snip-grasp", "cannot take its budget from the ranking of 'grasp'"),
    ("rbpi(batch_norm=train)-snip", "it is the pruner that has options, rbpi-PRUNER(…)"),
    ("mica(node_counts=mox)-erk", "'mox'; allowed are random, max, min, only_V_in, ignore; did you mean"),
    ("mica(node_counts=max", "cannot be read after"), ("mica-erk(x", "cannot be read after"),
    ("rpi-synflow(iterations=x)", "pruner 'synflow': iterations is 'x'; allowed is a valid integer"),
    ("rpi-synflow(iterations=0)", "iterations is 0; allowed is greater than or equal to 1"),
    ("rbpi-snip(iterations=3)", "pruner 'snip' has no option 'iterations': allowed are batch_norm"),
    ("mica-erk(iterations=3)", "distribution 'erk' has no option 'iterations': it takes none"),
])  # fmt: skip
def test_what_is_no_method_says_what_may_be_meant(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_method(name)
    assert message in str(error.value)


def test_global_is_a_distribution_of_ranking_pruners_in_whatever_way_it_is_given() -> None:
    for given in (GLOBAL, {"name": GLOBAL}, Named(name=GLOBAL)):
        assert combine("snip", given) == parse_method("rbpi-snip")
        with pytest.raises(UserError, match="ranks nothing"):
            combine("mica", given)
    with pytest.raises(UserError):
        choose_distribution({"name": GLOBAL, "iterations": 3})


def test_an_unknown_name_stays_an_unknown_name() -> None:
    for name in ("mica-ekr", "mcia-erk", "mica-no_such_of_mine:shares"):
        with pytest.raises(UnknownName):
            parse_method(name)


def test_the_source_of_a_corrected_budget() -> None:
    assert source_method(parse_method("mica(node_counts=max)-erk")).name == "rpi-erk"
    assert source_method(parse_method("mica-synflow(iterations=3)")).name == "rbpi-synflow(iterations=3)"
    titled = combine({"name": "random", "title": "RPI"}, "erk")
    for method in (
        titled,
        parse_method("rpi-igq"),
        parse_method("rbpi-snip"),
        parse_method("snip-erk"),
        DENSE,
    ):
        with pytest.raises(
            UserError, match="corrected goes with the pruner mica, or your own that places edges"
        ):
            source_method(method)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 12), nn.ReLU(), nn.Linear(12, 5))


def prune(method: str, ratio: float = 12.0) -> mica.Masks:
    return mica.sparsify(network(), method, ratio, 0, input_shape=(20,))


def test_a_ranking_distribution_takes_that_ranking_s_options() -> None:
    for iterations in (1, 3, 100):
        wanted = prune(f"rbpi-synflow(iterations={iterations})").counts()
        for pruner in ("rpi", "mica"):
            assert prune(f"{pruner}-synflow(iterations={iterations})").counts() == wanted
    assert prune("rbpi-synflow(iterations=1)").counts() != prune("rbpi-synflow").counts()


def test_iterations_change_the_mask_and_not_its_size() -> None:
    found = [prune(f"rbpi-synflow(iterations={count})") for count in (1, 3, 100)]
    assert len({masks.digest() for masks in found}) == 3
    assert len({masks.kept for masks in found}) == 1
    assert prune("rbpi-synflow").digest() == found[2].digest()


def test_so_do_those_of_a_ranking_within_layers() -> None:
    found = [prune(f"synflow(iterations={count})-erk") for count in (1, 3)]
    assert found[0].counts() == found[1].counts() == prune("rpi-erk").counts()
    assert found[0].digest() != found[1].digest()


def test_whose_option_iterations_is(registered) -> None:
    """Mica's where a pruner is registered with several; else the function's own affair."""
    seen: list[object] = []

    @ranking(iterations=2, needs_images=False)
    def twice(network: Network, weights: dict[str, Tensor], **more: object) -> dict[str, Tensor]:
        seen.append(more)
        return {name: weight.abs() for name, weight in weights.items()}

    @ranking(needs_images=False)
    def power(network: Network, weights: dict[str, Tensor], iterations: int = 5) -> dict[str, Tensor]:
        seen.append(iterations)
        return {name: weight.abs() for name, weight in weights.items()}

    pruners.add("twice", twice)
    pruners.add("power", power)
    prune("rbpi-twice(iterations=3,colour=red)")
    assert seen == [{"colour": "red"}] * 3
    seen.clear()
    prune("rbpi-power(iterations=7)")
    assert seen == [7]


@pytest.mark.parametrize("choose", [choose_distribution, lambda name: combine("mica", name)])
def test_a_distribution_whose_code_is_gone_is_told_from_a_wrong_name(choose) -> None:
    """Whoever only reads records goes on without the code, and not without a name."""
    with pytest.raises(CodeError, match="'nowhere_of_mine:flat' cannot be loaded"):
        choose("nowhere_of_mine:flat")
    with pytest.raises(UnknownName, match="or, for a ranking pruner's layer-wise counts") as error:
        choose("flat")
    assert not isinstance(error.value, CodeError)
