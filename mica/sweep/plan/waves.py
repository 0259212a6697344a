"""The course of a search: which candidates there are, wave by wave, as far as results go."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from mica.pruning.methods import Method
from mica.sweep.plan.search import Range, Search, rounded


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
    ask, tell = _sampler(search)
    while len(found) < candidates:
        drawn = [ask() for _ in range(min(search.wave, candidates - len(found)))]
        methods = [search.method(values) for _, values in drawn]
        objectives = yield Wave(methods, 0)
        for (trial, _), objective in zip(drawn, objectives, strict=True):
            tell(trial, objective)
        found += zip(objectives, methods, strict=True)
    for number, rung in enumerate(search.rungs[1:], 1):
        best = sorted(found, key=lambda pair: -pair[0])  # stable
        methods = [method for _, method in best]
        methods = list(dict.fromkeys(methods))[: rung.candidates]  # the same one may have been drawn twice
        objectives = yield Wave(methods, number)
        found = list(zip(objectives, methods, strict=True))


def _sampler(search: Search) -> tuple[Callable[[], tuple[Any, dict[str, Any]]], Callable[[Any, float], None]]:
    """How to ask for a candidate's values, and how to tell what came of it."""
    # A quarter of a second, and its log of every trial.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=search.draw))
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, part in search.space.items():
        if not isinstance(part, Range):
            space[name] = optuna.distributions.CategoricalDistribution(part)
            continue
        kind: Any = (
            optuna.distributions.IntDistribution if part.whole else optuna.distributions.FloatDistribution
        )
        space[name] = kind(part.low, part.to, step=part.step)

    def ask() -> tuple[Any, dict[str, Any]]:
        trial = study.ask(space)
        return trial, {name: rounded(value) for name, value in trial.params.items()}

    def tell(trial: Any, objective: float) -> None:
        study.tell(trial, objective)

    return ask, tell
