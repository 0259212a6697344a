"""One mask on request, without a trial around it."""

from collections.abc import Iterator
from dataclasses import dataclass

from mica.errors import UserError
from mica.graph.layers import LayerGraph
from mica.graph.tracing import trace
from mica.masks import Masks
from mica.models import build
from mica.pruning.budgets import BudgetKind, Rounding, target_edges
from mica.pruning.methods import DENSE, Method, parse_method
from mica.pruning.scarcity import scarcity
from mica.pruning.sparsify import sparsify
from mica.pruning.target import Target
from mica.training.protocol import Protocol
from mica.trial.inspection import inspect
from mica.trial.prepare import prepare
from mica.trial.record import LayerRow, MaskSummary
from mica.trial.run import load
from mica.trial.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class MaskRequest:
    """Which network, method, ratio and seed; the data set only where images are scored."""

    model: str
    method: str
    log10_ratio: float
    seed: int
    classes: int
    input_shape: str
    data: str | None
    budget: BudgetKind
    rounding: Rounding
    target: Target


@dataclass(frozen=True)
class SingleMask:
    """A mask, all in all and layer by layer."""

    masks: Masks
    summary: MaskSummary
    layers: tuple[LayerRow, ...]
    remarks: tuple[str, ...]
    """What whoever asked for it may not expect."""


def make_mask(request: MaskRequest) -> SingleMask:
    """The mask that is asked for.

    Raises:
        UserError: an unknown name, an impossible ratio or shape, or images are needed and none are named.
    """
    method = parse_method(request.method)
    if request.data:
        spec = TrialSpec(
            data=request.data,
            model=request.model,
            method=method,
            protocol=Protocol(),
            log10_ratio=request.log10_ratio,
            seed=request.seed,
            budget=request.budget,
            rounding=request.rounding,
            target=request.target,
        )
        trial = prepare(spec, load(spec), "cpu")
        model, graph, masks = trial.model, trial.graph, trial.masks
    elif method.needs_images:
        raise UserError(f"method {request.method!r} scores training images: name a data set with --data")
    else:
        shape = _parse_shape(request.input_shape)
        model = build(request.model, input_shape=shape, classes=request.classes, seed=request.seed)
        graph = trace(model, shape)
        masks = sparsify(
            model,
            method,
            10**request.log10_ratio,
            request.seed,
            graph=graph,
            budget=request.budget,
            rounding=request.rounding,
            target=request.target,
        )
    return SingleMask(masks, *inspect(graph, model, masks), tuple(_remarks(request, method, graph, masks)))


def _remarks(request: MaskRequest, method: Method, graph: LayerGraph, masks: Masks) -> Iterator[str]:
    if method == DENSE:
        return
    ratio = 10**request.log10_ratio
    if few := scarcity(graph, ratio, request.rounding):
        yield str(few)
    asked = target_edges(graph.edges, ratio, request.rounding)
    # Rounding down costs a layer less than an edge.
    off = abs(masks.kept - asked) > max(len(graph.layers), 0.01 * asked)
    if off and request.budget == request.target == "nominal":
        yield f"{masks.kept:,} edges are kept, as the distribution has it; the ratio asks for {asked:,}"


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--input-shape is channels, height and width such as 3x32x32, found {text!r}")
    return tuple(int(part) for part in parts)
