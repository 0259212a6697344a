"""A source that grows: of a search, whose next trials hang on what became of those before."""

from collections.abc import Callable, Mapping

from mica.sweep.drive.source import GridSource, Wanted, any_trial
from mica.trial.record import Record
from mica.trial.spec import TrialSpec


class GrowingSource:
    """Gives out a grid's trials, and asks for more once there are none left."""

    def __init__(
        self, grid: GridSource, more: Callable[[], Mapping[str, TrialSpec]], complete: Callable[[], bool]
    ) -> None:
        """
        Args:
            grid: gives out the trials that there are.
            more: gives the next ones; none as long as it must know what becomes of those before.
            complete: whether it will never give more.
        """
        self._grid, self._more, self._complete = grid, more, complete

    def ask(self, wanted: Wanted = any_trial) -> TrialSpec | None:
        """See `Source`."""
        if (spec := self._grid.ask(wanted)) is not None:
            return spec
        if self._grid.over() and not self._complete() and (more := self._more()):
            self._grid.add(more)
            return self._grid.ask(wanted)
        return None

    def tell(self, record: Record) -> None:
        """See `Source`."""
        self._grid.tell(record)

    def lose(self, spec: TrialSpec) -> None:
        """See `Source`."""
        self._grid.lose(spec)

    def over(self, wanted: Wanted = any_trial) -> bool:
        """See `Source`."""
        return self._complete() and self._grid.over(wanted)
