"""What a person sees while a sweep runs: a bar with an ETA on a terminal, plain lines in a log."""

import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mica.sweep.drive.progress import Running
from mica.trial.record import Record

_SILENCE = 60.0
"""Seconds after which a log says what runs, where it has said nothing else."""
_NAMED = 3
"""So many of the trials that run are named then."""


class TerminalProgress:
    """Says what a run does; counts finished trials and says what the last one gave. A sweep's `Listener`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = self._total = 0
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("trials")

    def busy(self, what: str) -> AbstractContextManager[object]:
        """A spinner."""
        return self._console.status(what)

    def running(self, trials: int) -> AbstractContextManager[object]:
        """A bar with an ETA."""
        self._total, self._said = trials, time.monotonic()
        self._bar.update(self._task, total=trials)
        return self._bar

    def finished(self, record: Record) -> None:
        """A line a trial."""
        self._number += 1
        self._said = time.monotonic()
        self._bar.update(self._task, completed=max(self._number, self._bar.tasks[0].completed))
        style = "red" if record.outcome in ("failed", "diverged") else None
        number = f"{self._number:>{len(str(self._total))}}/{self._total}"
        # An error may hold [brackets], which are no markup.
        self._console.print(
            f"{number}  {record.spec}  {_result(record)}",
            style=style, highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip

    def progress(self, running: list[Running]) -> None:
        """The bar moves by epochs; a log hears of what runs when nothing has ended for a minute."""
        shares = sum(item.share for item in running)
        self._bar.update(self._task, completed=min(self._number + shares, self._total))
        if self._console.is_terminal or not running or time.monotonic() < self._said + _SILENCE:
            return
        self._said = time.monotonic()
        named = [str(item) for item in running[:_NAMED]] + ["…"] * (len(running) > _NAMED)
        self._console.print(
            f"{len(running)} running: {'; '.join(named)}", highlight=False, markup=False, soft_wrap=True
        )

    def warn(self, text: str) -> None:
        """A line in yellow."""
        self._console.print(text, style="yellow", markup=False)


def _result(record: Record) -> str:
    seconds = record.provenance.seconds_mask + record.provenance.seconds_train
    if record.outcome == "failed":
        return f"failed: {record.reason}"
    if record.results.test_top1 is not None:
        return f"{record.outcome}: test top-1 {record.results.test_top1:.1f} % ({seconds:.0f} s)"
    assert record.mask is not None
    share = record.mask.edges_functional / max(1, record.mask.edges_placed)
    return f"{record.outcome}: {share:.1%} of {record.mask.edges_placed:,} edges functional ({seconds:.1f} s)"
