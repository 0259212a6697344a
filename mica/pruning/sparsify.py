"""From a network, a method, a ratio and a seed to checked masks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mica import rng
from mica.errors import UserError
from mica.graph import LayerGraph
from mica.graph.reachability import functional
from mica.graph.tracing import given_graph
from mica.masks import Masks
from mica.named import Named
from mica.options import call, check_choice, takes
from mica.pruners import Network, PlacingPruner, Ranking, pruners
from mica.pruners.scores.score_key import ScoreCache
from mica.pruners.scores.top_k import rank_globally, rank_within_layers
from mica.pruning.budgets import Budget, BudgetKind, Rounding, allocate, check_ratio, target_edges
from mica.pruning.methods import DENSE, GLOBAL, Method, as_ranking, combine, is_ranking, parse_method
from mica.pruning.target import Target, reach
from mica.registry import place_of
from mica.wording import described


def sparsify(
    model: nn.Module,
    method: str | Method,
    ratio: float,
    seed: int,
    *,
    input_shape: tuple[int, ...] | None = None,
    graph: LayerGraph | None = None,
    data: tuple[Tensor, Tensor] | None = None,
    budget: BudgetKind = "nominal",
    rounding: Rounding = "floor",
    target: Target = "nominal",
    cache: ScoreCache | None = None,
) -> Masks:
    """Masks for a network at initialisation; the network itself is not changed.

    Args:
        model: the network, dense, with its initial weights.
        method: `dense`, `rpi-erk`, `mica(node_counts=max)-igq`, `rbpi-synflow`, … (`mica.pruning.methods`).
        ratio: compression ratio, all edges / kept edges, at least 1.
        seed: makes the mask's random stream; the same seed gives the same masks.
        input_shape: of one image, to trace the network by; or
        graph: the traced network, to trace it only once.
        data: normalised training images (N, C, H, W) and labels (N,), for methods with snip or grasp.
        budget: `nominal`, the distribution's own; or `corrected`, what is functional in the mask of the
            method that this one is compared with (paper section 4.6).
        rounding: `floor` as in the published results, or `exact` to the edge (`mica.pruning.budgets`).
        target: what the ratio counts: kept edges, `nominal`; or functional ones, `corrected`, to a hundredth,
            or as near as there is a mask (`mica.pruning.target`).
        cache: keeps scores for other ratios and methods; the masks are the same without.

    Returns:
        Masks on the CPU, for every prunable layer.

    Raises:
        UserError: an unknown or impossible method, a ratio below 1, missing data, neither graph nor shape, or
            a pruner or distribution of a user's own gave something else than it must.
        TraceError: the network cannot be followed.
    """
    check_ratio(ratio)
    check_choice("target", target, Target)
    check_choice("budget", budget, BudgetKind)
    check_choice("rounding", rounding, Rounding)
    parsed = parse_method(method) if isinstance(method, str) else method
    graph = given_graph("sparsify", model, graph, input_shape)
    images, labels = data or (None, None)
    network = Network(model=model, graph=graph, images=images, labels=labels, seed=seed)

    def make(log10_ratio: float) -> Masks:
        nominal = ratio if log10_ratio == aim else float(10**log10_ratio)  # to the bit
        task = _Task(network, nominal, seed, rounding, cache)
        return task.nominal(parsed) if budget == "nominal" else task.corrected(parsed)

    aim = math.log10(ratio)
    return make(aim) if target == "nominal" or parsed == DENSE else reach(make, graph, aim)


def source_method(method: Method) -> Method:
    """The method whose functional counts are the corrected budget of `method` (paper section 4.6).

    Raises:
        UserError: the method's pruner does not place a given budget, or is the source itself.
    """
    placing = method != DENSE and isinstance(pruners.get(method.pruner.name), PlacingPruner)
    if placing and is_ranking(method.distribution.name):
        return combine(method.distribution, GLOBAL)
    if placing and (source := combine("random", method.distribution)).pruner.name != method.pruner.name:
        return source
    raise UserError(
        f"budget: corrected goes with the pruner mica, or your own that places edges, found {method.name!r}"
    )


@dataclass(frozen=True)
class _Task:
    """What stays the same while one method asks for the mask or the counts of another."""

    network: Network
    ratio: float
    seed: int
    rounding: Rounding
    cache: ScoreCache | None

    def nominal(self, method: Method) -> Masks:
        graph = self.network.graph
        if method == DENSE:
            ones = {name: torch.ones(shape, dtype=torch.bool) for name, shape in graph.shapes.items()}
            return Masks(ones)
        ranking = as_ranking(method.pruner)
        if ranking is None:
            return self.place(method.pruner, self.nominal_budget(method.distribution))
        if method.distribution.name == GLOBAL:
            return rank_globally(ranking, self.network, self.schedule(ranking), self.cache)
        return rank_within_layers(ranking, self.network, self.nominal_budget(method.distribution), self.cache)

    def corrected(self, method: Method) -> Masks:
        source = self.nominal(source_method(method))
        return self.place(method.pruner, functional(self.network.graph, source).counts())

    def schedule(self, ranking: Ranking) -> list[int]:
        """How many edges are kept after each iteration: an exponential schedule."""
        edges, steps = self.network.graph.edges, ranking.iterations
        ratios = [self.ratio ** (step / steps) for step in range(1, steps + 1)]
        return [target_edges(edges, ratio, self.rounding) for ratio in ratios]

    def nominal_budget(self, distribution: Named) -> Budget:
        if is_ranking(distribution.name):
            return self.nominal(combine(distribution, GLOBAL)).counts()
        graph = self.network.graph
        pixels = {name: layer.positions for name, layer in graph.layers.items()}
        return allocate(graph.shapes, distribution, self.ratio, self.rounding, pixels)

    def place(self, chosen: Named, budget: Mapping[str, int]) -> Masks:
        pruner = pruners.get(chosen.name)
        assert isinstance(pruner, PlacingPruner)
        given: dict[str, object] = {
            "graph": self.network.graph,
            "budget": dict(budget),  # a copy, as of the weights: whatever it does to them, it has its own
            # Every placement draws from the same stream: a corrected budget's source mask is then the very
            # mask of the trial that it is compared with.
            "rng": rng.stream(self.seed, "mask"),
        }
        if takes(pruner.place, "weights"):
            given["weights"] = {name: weight.clone() for name, weight in self.network.weights().items()}
        found = call(pruner.place, given, chosen.all_options)
        return _checked(found, f"pruner {chosen.text!r}{place_of(pruner.place)}", self.network.graph, budget)


def _checked(found: Any, who: str, graph: LayerGraph, budget: Mapping[str, int]) -> Masks:
    """A placing pruner's masks, if they cover the graph's layers with exactly the budget."""
    if not isinstance(found, Mapping):
        raise UserError(f"{who} must return masks (layer name → bool tensor), found {described(found)}")
    try:
        masks = found if isinstance(found, Masks) else Masks(found)
    except TypeError as error:
        raise UserError(f"{who}: {error}") from None
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    if shapes != graph.shapes:
        raise UserError(f"{who}: its masks do not fit the network: {_difference(shapes, graph.shapes)}")
    if masks.counts() != dict(budget):
        raise UserError(f"{who} did not place its budget: {_difference(masks.counts(), budget)}")
    return Masks({name: masks[name].cpu() for name in graph.layers})  # in the network's order


def _difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    return "; ".join(f"{n}: found {found.get(n)}, expected {expected.get(n)}" for n in names[:3])
