"""A corrected target: the mask whose functional edges come to what the ratio asks for."""

import math

import pytest
import torch

import mica
from mica.masks import Masks
from mica.pruning.target import reach
from mica.trial import run
from tests.trial.sample import tiny

METHODS = ["rpi-erk", "rpi-igq", "rbpi-snip", "rbpi-magnitude", "mica-igq", "synflow(iterations=5)-erk"]


@pytest.fixture(scope="module")
def vgg() -> tuple[torch.nn.Module, mica.LayerGraph]:
    model = mica.models.build("vgg11", input_shape=(3, 32, 32), classes=10, seed=0)
    return model, mica.trace(model, (3, 32, 32))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("log", [1.0, 2.5])
def test_functional_edges_are_within_a_hundredth(method: str, log: float, vgg) -> None:
    model, graph = vgg
    noise = torch.Generator().manual_seed(0)
    data = torch.rand(20, 3, 32, 32, generator=noise), torch.arange(20) % 10
    masks = mica.sparsify(model, method, 10**log, 0, graph=graph, data=data, target="corrected")
    wanted = graph.edges / 10**log
    assert abs(mica.functional(graph, masks).kept - wanted) <= 0.01 * wanted
    assert masks.kept >= mica.sparsify(model, method, 10**log, 0, graph=graph, data=data).kept


def test_where_none_fits_the_nearest_of_all_is_taken(vgg) -> None:
    """Random pruning's functional edges jump as it collapses: against every ratio in small steps."""
    model, graph = vgg
    log = 4.0
    masks = mica.sparsify(model, "rpi-igq", 10**log, 0, graph=graph, target="corrected")
    wanted = graph.edges / 10**log
    found = abs(mica.functional(graph, masks).kept - wanted)
    for step in range(61):
        other = mica.sparsify(model, "rpi-igq", 10 ** (2.5 + step / 40), 0, graph=graph)
        assert found <= abs(mica.functional(graph, other).kept - wanted)


def test_it_looks_between_what_is_too_much_and_what_is_too_little(vgg) -> None:
    """Masks of a plain rule: a fixed share of what is kept is functional, so the guess is right at once."""
    _, graph = vgg
    asked = []

    def make(log10_ratio: float) -> Masks:
        asked.append(log10_ratio)
        return mica.sparsify(vgg[0], "mica-erk", 2 * 10**log10_ratio, 0, graph=graph, rounding="exact")

    reach(make, graph, 2.0)
    assert asked[-1] == pytest.approx(2 - math.log10(2), abs=0.01) and len(asked) <= 3
    assert asked[0] == 2.0


def test_a_dense_network_has_no_ratio_to_look_for(vgg) -> None:
    model, graph = vgg
    assert mica.sparsify(model, "dense", 1, 0, graph=graph, target="corrected").kept == graph.edges
    assert mica.sparsify(model, "rpi-erk", 1.0, 0, graph=graph, target="corrected").kept == graph.edges


def test_a_nominal_target_is_as_ever(vgg) -> None:
    model, graph = vgg
    for log in (0.5, 3.1):
        one = mica.sparsify(model, "rpi-igq", 10**log, 0, graph=graph, target="nominal")
        assert one.digest() == mica.sparsify(model, "rpi-igq", 10**log, 0, graph=graph).digest()
    with pytest.raises(ValueError, match="target is 'effective'; allowed are nominal, corrected"):
        mica.sparsify(model, "rpi-igq", 10, 0, graph=graph, target="effective")


@pytest.mark.parametrize(("log", "remarks"), [(0.6, 0), (2.5, 1)])
def test_a_trial_whose_target_has_no_mask_says_so(log: float, remarks: int) -> None:
    """Of 1,344 edges 4 can function in no mask of three layers that random pruning makes with this seed."""
    record = run(tiny(method="rpi-erk", log10_ratio=log, target="corrected", protocol={"epochs": 0}))
    assert len(record.provenance.remarks) == remarks
    if remarks:
        assert record.provenance.remarks[0].startswith("no mask has 4 functional edges, to a hundredth; the")
