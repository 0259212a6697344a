"""One trial: its spec, its run in this process, its record."""

from mica.trial.record import Record
from mica.trial.runner import open_data, run
from mica.trial.spec import Named, TrialSpec

__all__ = ["Named", "Record", "TrialSpec", "open_data", "run"]
