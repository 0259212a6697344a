"""What a person sees while a sweep runs: a bar with an ETA on a terminal, plain lines in a log."""

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mica.trial.record import Record


class SweepProgress:
    """Counts finished trials and says what the last one gave."""

    def __init__(self, console: Console, total: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._console, self._total = console, total
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("trials", total=total)

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def finished(self, record: Record) -> None:
        """One more trial has its record."""
        self.outcomes[record.outcome] += 1
        self._bar.advance(self._task)
        number, width = self.outcomes.total(), len(str(self._total))
        style = "red" if record.outcome in ("failed", "diverged") else None
        line = f"{number:>{width}}/{self._total}  {record.spec}  {_result(record)}"
        # An error may hold [brackets], which are no markup.
        self._console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _result(record: Record) -> str:
    seconds = record.provenance.seconds_mask + record.provenance.seconds_train
    if record.outcome == "failed":
        return f"failed: {(record.error or '').strip().splitlines()[-1]}"
    if record.results.test_top1 is not None:
        return f"{record.outcome}: test top-1 {record.results.test_top1:.1f} % ({seconds:.0f} s)"
    assert record.mask is not None
    share = record.mask.edges_functional / max(1, record.mask.edges_placed)
    return f"{record.outcome}: {share:.1%} of {record.mask.edges_placed:,} edges functional ({seconds:.1f} s)"
