"""What runs a sweep's trials: this process, or a cluster; both do it alike."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mica.data import DataSource
from mica.errors import UserError
from mica.sweep.drive.progress import Running
from mica.sweep.drive.source import Source, Wanted, any_trial
from mica.sweep.drive.stopping import Stopping
from mica.sweep.plan.spec import Resources, Times
from mica.sweep.store.records import Store
from mica.trial.record import Record
from mica.trial.spec import TrialSpec

Need = Mapping[str, float]
"""What one trial gets: `cpu` and `gpu`."""


@dataclass(frozen=True)
class Job:
    """What the trials of a sweep share."""

    sweep: str
    store: Store
    sources: Mapping[str, DataSource]
    """Data set's label → where it is."""
    resources: Resources
    times: Times


class Executor(Protocol):
    """Runs the trials of a source, each once, and leaves the record of each in the store."""

    def check(self, trials: Collection[TrialSpec]) -> None:
        """Find everything that can be known to fail before the first trial starts; reads the data on the way.

        Raises:
            UserError: a trial's resources are not there; data cannot be read; a network cannot be built or
                traced. All of these are reported together.
        """

    def run(
        self,
        source: Source,
        hear: Callable[[Record], None],
        stopping: Stopping,
        progress: Callable[[list[Running]], None] = lambda running: None,
    ) -> None:
        """Run trials until the source is over, there is a reason to stop, or somebody interrupts.

        What runs when there is a reason to stop saves what it has come to, and is not done.

        Args:
            hear: called with each record once it is stored: that of a failed trial too.
            progress: told about once a second what runs, from any thread.
        """


@dataclass(frozen=True)
class Share:
    """Trials that get the same."""

    need: Need
    wanted: Wanted
    """Which of the sweep's trials these are."""


def shares_of(resources: Resources, trials: Collection[TrialSpec], gpus: float) -> list[Share]:
    """What each of these trials gets where there are so many GPUs; those that get most first.

    `gpu: auto` is one GPU where there are any and something trains. Masks alone need none: as many are
    made at a time as there are cores, on nodes without GPUs too.
    """
    gpu = (1.0 if gpus else 0.0) if resources.gpu == "auto" else resources.gpu
    trains = {_trains(spec) for spec in trials}
    if gpu and trains == {True, False}:
        return [Share(_need(resources, gpu), _trains), Share(_need(resources, 0.0), _makes_a_mask)]
    return [Share(_need(resources, gpu if True in trains else 0.0), any_trial)]


def need_among(resources: Resources, trials: Collection[TrialSpec], gpus: float) -> Need:
    """The most that one of these trials gets."""
    return shares_of(resources, trials, gpus)[0].need


def check_precision(trials: Collection[TrialSpec], need: Need) -> None:
    """Raises `UserError` where these trials need a GPU to compute as they are to, and get none."""
    if not need["gpu"] and any(spec.protocol.precision == "tf32" for spec in filter(_trains, trials)):
        raise UserError(
            "precision tf32 is a GPU's, and there is none for these trials; on a CPU there are fp32 and bf16"
        )


def _need(resources: Resources, gpu: float) -> Need:
    return {"cpu": resources.cpu, "gpu": gpu}


def _trains(spec: TrialSpec) -> bool:
    return spec.protocol.epochs > 0


def _makes_a_mask(spec: TrialSpec) -> bool:
    return not _trains(spec)


def fitting(node: Mapping[str, float], need: Need) -> int:
    """How many trials a node has room for at a time, by what Ray says that it has."""
    return min(
        math.floor(node.get(kind.upper(), 0) / amount + 1e-6) for kind, amount in need.items() if amount
    )


def threads_of(need: Need) -> int:
    """Of a trial's process: its share of the cores."""
    return max(1, int(need["cpu"]))


def device_of(need: Need) -> str:
    """Of a trial's process."""
    return "cuda" if need["gpu"] else "cpu"


def one_of_each_kind(trials: Iterable[TrialSpec]) -> list[TrialSpec]:
    """Trials that differ in network, data or protocol: those do not depend on method, ratio or seed."""
    return list({(spec.data.label, spec.model.label, spec.protocol): spec for spec in trials}.values())
