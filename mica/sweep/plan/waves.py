"""The course of a search: which candidates there are, wave by wave, as far as results go."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mica.pruning.methods import Method
from mica.sweep.plan.search import Range, Search, rounded

if TYPE_CHECKING:
    import optuna


class Wave(NamedTuple):
    """Candidates that may run at a time."""

    methods: Sequence[Method]
    rung: int
    """The search's, from 0."""


def waves(search: Search) -> Generator[Wave, Sequence[float], None]:
    """Yields waves, and is sent each one's objective, higher being better, in the order of its candidates.

    The first rung's are drawn by Optuna (a tree-structured Parzen estimator, Bergstra et al. 2011), each wave
    from what all before it gave. Then the best go on, those drawn earlier first among equals. Nothing but the
    search and the objectives takes part: the same ones give the same candidates, on any machine.
    """
    candidates = search.rungs[0].candidates
    found: list[tuple[float, Method]] = []
    study, space = _study(search)
    while len(found) < candidates:
        drawn = [study.ask(space) for _ in range(min(search.wave, candidates - len(found)))]
        methods = [
            search.method({name: rounded(value) for name, value in each.params.items()}) for each in drawn
        ]
        objectives = yield Wave(methods, 0)
        for each, objective in zip(drawn, objectives, strict=True):
            study.tell(each, objective)
        found += zip(objectives, methods, strict=True)
    for number, rung in enumerate(search.rungs[1:], 1):
        best = sorted(found, key=lambda pair: -pair[0])  # stable
        methods = [method for _, method in best]
        methods = list(dict.fromkeys(methods))[: rung.candidates]  # the same one may have been drawn twice
        objectives = yield Wave(methods, number)
        found = list(zip(objectives, methods, strict=True))


def _study(search: Search) -> tuple["optuna.Study", dict[str, Any]]:
    """Optuna's study, and the space to ask it in."""
    import optuna  # a quarter of a second

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else a line a trial
    kinds = optuna.distributions
    space: dict[str, Any] = {}
    for name, part in search.space.items():
        if isinstance(part, Range):
            kind: Any = kinds.IntDistribution if part.whole else kinds.FloatDistribution
            space[name] = kind(part.low, part.to, step=part.step)
        else:
            space[name] = kinds.CategoricalDistribution(part)
    sampler = optuna.samplers.TPESampler(seed=search.draw)
    return optuna.create_study(direction="maximize", sampler=sampler), space
