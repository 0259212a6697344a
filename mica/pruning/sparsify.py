"""From a network, a method, a ratio and a seed to checked masks."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mica import rng
from mica.errors import UserError
from mica.graph.layers import LayerGraph
from mica.graph.reachability import functional
from mica.graph.tracing import trace
from mica.masks import Masks
from mica.pruners import Network, PlacingPruner, pruners
from mica.pruners.mica import mica, place_mica
from mica.pruners.scores.score_key import ScoreCache
from mica.pruners.scores.top_k import rank_globally, rank_within_layers
from mica.pruning.distributions import Budget, allocate, check_ratio
from mica.pruning.methods import DENSE, GLOBAL, Method, combine, is_ranking, parse_method
from mica.registry import check_choice
from mica.words import BatchNormMode, BudgetKind, NodeCounts, Rounding


def sparsify(
    model: nn.Module,
    method: str,
    ratio: float,
    seed: int,
    *,
    input_shape: tuple[int, ...] = (3, 32, 32),
    graph: LayerGraph | None = None,
    data: tuple[Tensor, Tensor] | None = None,
    budget: BudgetKind = "nominal",
    rounding: Rounding = "floor",
    node_counts: NodeCounts = "random",
    batch_norm: BatchNormMode = "eval",
    cache: ScoreCache | None = None,
) -> Masks:
    """Masks for a network at initialisation; the network itself is not changed.

    Args:
        model: the network, dense, with its initial weights.
        method: `dense`, `rpi-erk`, `mica-igq`, `rbpi-synflow`, `snip-erk`, … (`mica.methods`).
        ratio: compression ratio, all edges / kept edges, at least 1.
        seed: makes the mask's random stream; the same seed gives the same masks.
        input_shape: of one image; used to trace the network when `graph` is not given.
        graph: the traced network, to trace it only once.
        data: normalised training images (N, C, H, W) and labels (N,), for methods with snip or grasp.
        budget: `nominal`, the distribution's own; or `corrected`, what is functional in the mask of the
            method that MiCA is compared with (paper section 4.6).
        rounding: `floor` as in the published results, or `exact` to the edge (`mica.distributions`).
        node_counts: MiCA's choice from equation 3: `random`, `max` or `min`.
        batch_norm: mode of batch norm while snip and grasp score.
        cache: keeps scores for other ratios and methods; the masks are the same without.

    Returns:
        Masks on the CPU, for every prunable layer.

    Raises:
        UserError: an unknown or impossible method, a ratio below 1, or missing data.
        TraceError: the network cannot be followed.
    """
    check_ratio(ratio)
    for what, value, choices in (
        ("budget", budget, BudgetKind),
        ("rounding", rounding, Rounding),
        ("node_counts", node_counts, NodeCounts),
        ("batch_norm", batch_norm, BatchNormMode),
    ):
        check_choice(what, value, choices)
    parsed = parse_method(method)
    graph = graph or trace(model, input_shape)
    images, labels = data or (None, None)
    network = Network(model=model, graph=graph, images=images, labels=labels, batch_norm=batch_norm)
    task = _Task(network, ratio, seed, rounding, node_counts, cache)
    masks = task.nominal(parsed) if budget == "nominal" else task.corrected(parsed)
    _check(graph, masks)
    return masks


def source_method(method: Method) -> Method:
    """The method whose functional counts are the corrected budget of `method` (paper section 4.6).

    Raises:
        UserError: the method's pruner does not place a given budget, or is the source itself.
    """
    if method.pruner != "mica":
        raise UserError(f"budget: corrected goes with the pruner mica, found {str(method)!r}")
    if is_ranking(method.distribution):
        return combine(method.distribution, GLOBAL)
    return combine("random", method.distribution)


@dataclass(frozen=True)
class _Task:
    """What stays the same while one method asks for the mask or the counts of another."""

    network: Network
    ratio: float
    seed: int
    rounding: Rounding
    node_counts: NodeCounts
    cache: ScoreCache | None

    def nominal(self, method: Method) -> Masks:
        if method == DENSE:
            shapes = self.network.graph.shapes
            return Masks({name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()})
        pruner = pruners.get(method.pruner)
        if isinstance(pruner, PlacingPruner):
            return self.place(method.pruner, self.nominal_budget(method.distribution))
        if method.distribution == GLOBAL:
            return rank_globally(pruner, self.network, self.ratio, self.rounding, self.cache)
        budget = self.nominal_budget(method.distribution)
        return rank_within_layers(pruner, self.network, budget, self.cache)

    def corrected(self, method: Method) -> Masks:
        source = self.nominal(source_method(method))
        return self.place(method.pruner, functional(self.network.graph, source).counts())

    def nominal_budget(self, distribution: str) -> Budget:
        if is_ranking(distribution):
            return self.nominal(combine(distribution, GLOBAL)).counts()
        return allocate(self.network.graph.shapes, distribution, self.ratio, self.rounding)

    def place(self, name: str, budget: Mapping[str, int]) -> Masks:
        graph = self.network.graph
        # Every placement draws from the same stream: a corrected budget's source mask is then the very
        # mask of the trial that it is compared with.
        stream = rng.stream(self.seed, "mask")
        pruner = pruners.get(name)
        assert isinstance(pruner, PlacingPruner)
        if pruner is mica:
            masks = place_mica(graph, budget, stream, self.node_counts)
        else:
            masks = pruner.place(graph, budget, stream)
        if masks.counts() != dict(budget):
            found = _difference(masks.counts(), budget)
            raise UserError(f"pruner {name!r} did not place its budget: {found}")
        return masks


def _check(graph: LayerGraph, masks: Masks) -> None:
    """A pruner's masks must cover the graph's layers, shape by shape, whoever wrote it."""
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    if shapes != graph.shapes:
        raise UserError(f"the pruner's masks do not fit the network: {_difference(shapes, graph.shapes)}")


def _difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    return "; ".join(f"{n}: found {found.get(n)}, expected {expected.get(n)}" for n in names[:3])
