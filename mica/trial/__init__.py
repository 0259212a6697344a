"""One trial: its spec, its run in this process, its record."""

from mica.trial.record import Record
from mica.trial.run import run
from mica.trial.spec import TrialSpec, open_data

__all__ = ["Record", "TrialSpec", "open_data", "run"]
