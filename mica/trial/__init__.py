"""One trial: its spec, its run in this process, or that of several at a time, its record."""

from mica.trial.record import Record
from mica.trial.run import run, run_together
from mica.trial.spec import TrialSpec, open_data

__all__ = ["Record", "TrialSpec", "open_data", "run", "run_together"]
