"""When a trial that makes no progress has stalled."""

from mica.sweep.drive.progress import Report

_STEPS = 10
"""So many of its own slowest steps may pass without progress, where that is longer than the sweep's time."""


def patience(stall: float, report: Report) -> float:
    """Seconds that a trial may stand still; `stall`: the sweep's `times.stall`.

    A network whose steps take minutes has not stalled; before its first step the sweep's time alone counts.
    """
    return max(stall, _STEPS * report.slowest)
