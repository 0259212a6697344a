"""What somebody should know of a sweep before it runs, although it is no mistake."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from mica.data import DataSource
from mica.errors import UserError
from mica.graph.tracing import trace
from mica.models import build, models
from mica.pruning.budgets import target_edges
from mica.pruning.methods import DENSE
from mica.pruning.scarcity import Scarcity, scarcity
from mica.training.protocol import Protocol
from mica.trial.prepare import input_shape
from mica.trial.spec import TrialSpec


def default_protocols(trials: Iterable[TrialSpec]) -> Iterator[str]:
    """A line for each model that trains by the default protocol because nobody has said how.

    Its author says it with the decorator, a sweep file by naming the learning rate.
    """
    seen = set()
    for trial in trials:
        name, protocol = trial.model.name, trial.protocol
        if name in seen or not protocol.epochs or "lr" in protocol.model_fields_set:
            continue
        seen.add(name)
        if models.get(name).protocol is None:
            yield (
                f"model {name!r} has no protocol of its own: it trains as VGG-16 does ({_said(protocol)}); "
                "`protocol:` in the sweep file, or mica.models.model(protocol=…) says otherwise"
            )


def _said(protocol: Protocol) -> str:
    """`lr 0.1, ×0.1 after 60 and 120 of 160 epochs, weight decay 0.0001`."""
    drops = " and ".join(str(round(share * protocol.epochs)) for share in protocol.lr_drops)
    factor = f", ×{protocol.lr_factor:g} after {drops} of {protocol.epochs} epochs" if drops else ""
    return f"lr {protocol.lr:g}{factor}, weight decay {protocol.weight_decay:g}"


@dataclass
class _Network:
    """One network of a sweep and the ratios that it is pruned at."""

    trial: TrialSpec
    """The first of its trials."""
    image_shape: tuple[int, int, int]
    classes: int
    trials: list[TrialSpec] = field(default_factory=list)


def scarce_edges(trials: Iterable[TrialSpec], sources: Mapping[str, DataSource]) -> Iterator[str]:
    """A line for each network that a ratio leaves with fewer edges than layers, or that cannot be built.

    Each network is built once, and traced only where its weights are that few. Data sets that do not say what
    their images are like are passed over.
    """
    networks: dict[tuple[object, ...], _Network] = {}
    for trial in trials:
        source = sources[trial.data.label]
        if trial.method == DENSE or source.image_shape is None or source.classes is None:
            continue
        key = (trial.model.text, source.image_shape, source.classes)
        network = networks.setdefault(key, _Network(trial, source.image_shape, source.classes))
        network.trials.append(trial)
    found: dict[tuple[str, str], list[str]] = {}
    for network in networks.values():
        model = network.trial.model.label
        for line in _remarks(network):
            found.setdefault((model, line), []).extend(trial.data.label for trial in network.trials)
    for (model, line), datasets in found.items():
        where = f" on {', '.join(dict.fromkeys(datasets))}" if len(sources) > 1 else ""
        yield f"{model}{where} {line}"


def _remarks(network: _Network) -> list[str]:
    try:
        return list(_scarce(network))
    except Exception as error:  # a user's own network may raise anything; `run` refuses it
        reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return [f"cannot be made: {reason}"]


def _scarce(network: _Network) -> Iterator[str]:
    trial = network.trial
    shape = input_shape(trial.model.name, network.image_shape)
    model = build(trial.model, input_shape=shape, classes=network.classes, seed=trial.seed)
    ratios = {(each.log10_ratio, each.rounding) for each in network.trials}
    if _plenty(model, max(ratio for ratio, _ in ratios)):
        return
    graph = trace(model, shape)
    found: dict[bool, list[tuple[float, Scarcity]]] = {}
    for log10_ratio, rounding in sorted(ratios):
        if few := scarcity(graph, 10**log10_ratio, rounding):
            found.setdefault(few.collapses, []).append((log10_ratio, few))
    for cases in found.values():
        (low, most), (high, fewest) = cases[0], cases[-1]
        if low == high:
            yield f"at {_power(low)}: {most}"
        else:
            yield f"from {_power(low)} to {_power(high)}: {most.edges} to {fewest}"


def _plenty(model: nn.Module, log10_ratio: float) -> bool:
    """Whether the weights alone tell that no layer need stay empty."""
    sizes = [part.weight.numel() for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    return target_edges(sum(sizes), 10**log10_ratio, "floor") > len(sizes)


def _power(log10_ratio: float) -> str:
    return f"10^{round(log10_ratio, 2):g}"
