"""Course: how far a search has come, by the records that there are."""

from collections.abc import Mapping
from dataclasses import dataclass

from mica.sweep.plan.grid import Grid, trials_of
from mica.sweep.plan.spec import SweepSpec
from mica.sweep.plan.waves import Wave, waves
from mica.sweep.store.index import Index
from mica.trial.spec import TrialSpec

Candidate = tuple[TrialSpec, ...]
"""Its trials on one rung, one a seed."""


@dataclass(frozen=True)
class Rung:
    """One rung as far as it is known."""

    epochs: int
    wanted: int
    """How many candidates there are to be."""
    candidates: list[Candidate]
    """In the order that they were drawn in, or the best of the rung before first."""


class Course:
    """Adds a search's trials to its grid, wave by wave, each as soon as all before it have ended.

    It holds nothing that is not in the records: begun anew it comes to the same wave. A trial that failed, or
    whose mask collapsed, counts as an accuracy of 0.
    """

    def __init__(self, spec: SweepSpec, grid: Grid, index: Index) -> None:
        assert spec.search
        self._spec, self._grid, self._index = spec, grid, index
        self._waves = waves(spec.search)
        self._wave: list[Candidate] = []
        self.rungs = tuple(Rung(rung.epochs, rung.candidates, []) for rung in spec.search.rungs)
        self.over = False
        """Whether every wave has ended."""
        self._begin(next(self._waves))
        self.go_on()

    def go_on(self) -> Mapping[str, TrialSpec]:
        """Begin waves until there is one that has not ended; returns the trials that came, by key."""
        known = set(self._grid.trials)
        while not self.over and all(map(self.ended, self._wave)):
            try:
                self._begin(self._waves.send([self.objective(candidate) for candidate in self._wave]))
            except StopIteration:
                self.over = True
        return {key: trial for key, trial in self._grid.trials.items() if key not in known}

    @property
    def to_come(self) -> int:
        """How many trials later waves will have; fewer, should they draw what was drawn before."""
        candidates = sum(rung.wanted - len(rung.candidates) for rung in self.rungs)
        return 0 if self.over else candidates * len(self._wave[0])

    def objective(self, candidate: Candidate) -> float:
        """Mean validation top-1 of its trials, percent."""
        return sum(map(self._val_top1, candidate)) / len(candidate)

    def ended(self, candidate: Candidate) -> bool:
        """Whether all of its trials have."""
        return all(spec.key in self._index.entries for spec in candidate)

    def _begin(self, wave: Wave) -> None:
        rung, sources = self.rungs[wave.rung], self._grid.sources
        self._wave = [tuple(trials_of(self._spec, sources, each, rung.epochs)) for each in wave.methods]
        rung.candidates.extend(self._wave)
        new = {trial.key: trial for candidate in self._wave for trial in candidate}
        self._grid.trials.update(new)
        self._index.admit(new)

    def _val_top1(self, spec: TrialSpec) -> float:
        stored = self._index.stored(spec.key)
        return (stored and stored.record.results.val_top1) or 0.0
