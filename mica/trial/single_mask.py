"""One mask on request, without a trial around it."""

from dataclasses import dataclass

from mica.errors import UserError
from mica.graph.tracing import trace
from mica.masks import Masks
from mica.models import build
from mica.pruning.methods import parse_method
from mica.pruning.sparsify import sparsify
from mica.training.protocol import Protocol
from mica.trial.inspection import inspect
from mica.trial.record import LayerRow, MaskSummary
from mica.trial.runner import open_data, prepare
from mica.trial.spec import Named, TrialSpec
from mica.words import BudgetKind, NodeCounts, Rounding


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
    node_counts: NodeCounts


def make_mask(request: MaskRequest) -> tuple[Masks, MaskSummary, tuple[LayerRow, ...]]:
    """The mask, all in all and layer by layer.

    Raises:
        UserError: an unknown name, an impossible ratio or shape, or images are needed and none are named.
    """
    method = parse_method(request.method)
    if not 0 <= request.log10_ratio <= 30:
        raise UserError(f"--log10-ratio is a number from 0 (dense) to 30, found {request.log10_ratio:g}")
    if request.data:
        data = Named(name=request.data)
        spec = TrialSpec(
            data=data,
            model=Named(name=request.model),
            protocol=Protocol(),
            **{name: getattr(request, name) for name in _SHARED},
        )
        trial = prepare(spec, open_data(data).load(), "cpu")
        model, graph, masks = trial.model, trial.graph, trial.masks
    elif method.needs_images:
        raise UserError(f"method {request.method!r} scores training images: name a data set with --data")
    else:
        shape = _parse_shape(request.input_shape)
        model = build(request.model, input_shape=shape, classes=request.classes, seed=request.seed)
        graph = trace(model, shape)
        masks = sparsify(
            model,
            request.method,
            10**request.log10_ratio,
            request.seed,
            graph=graph,
            budget=request.budget,
            rounding=request.rounding,
            node_counts=request.node_counts,
        )
    return (masks, *inspect(graph, model, masks))


_SHARED = ("method", "log10_ratio", "seed", "budget", "rounding", "node_counts")


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--input-shape is channels, height and width such as 3x32x32, found {text!r}")
    return tuple(int(part) for part in parts)
