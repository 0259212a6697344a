"""Who shows a sweep's records in MLflow: of several drivers one, by claim; another if it dies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mica.data.location import shown
from mica.sweep.drive.signals import Interruption
from mica.sweep.listener import Listener
from mica.sweep.store.claims import Claims
from mica.sweep.store.index import Index
from mica.sweep.store.place import Place
from mica.sweep.track.level import is_level, mark_level, of_trials
from mica.sweep.track.process import Tracker
from mica.trial.record import Record
from mica.wording import counted


@dataclass(frozen=True)
class Projector:
    """What MLflow shows of one sweep; nothing where it is off."""

    uri: str | None
    sweep: str
    place: Place
    index: Index
    total: Callable[[], int]
    """How many trials the sweep has, by what is known now."""

    @property
    def level(self) -> bool:
        """Whether MLflow shows all that the store has, or is off; asks neither MLflow nor a record."""
        if self.uri is None:
            return True
        return is_level(self.place, self.uri, self.sweep, of_trials(self._outcomes, complete=self._complete))

    @contextmanager
    def open(
        self, claims: Claims, listener: Listener, interruption: Interruption
    ) -> Iterator[Callable[[Record], None]]:
        """Show each record that is passed on, and those that were there; all is shown when the block ends."""
        if self.uri is None:
            yield lambda record: None
            return
        shower = _Shower(self, claims)
        try:
            shower.begin()
            yield shower.show
        finally:
            with listener.busy("showing the rest in MLflow"):
                shower.end(listener.warn, hurry=interruption.came)

    @property
    def _outcomes(self) -> dict[str, str]:
        return {key: entry.outcome for key, entry in self.index.entries.items()}

    @property
    def _complete(self) -> bool:
        return len(self.index.entries) == self.total()


class _Shower:
    """Shows what one run passes on, once the claim is its own."""

    def __init__(self, projector: Projector, claims: Claims) -> None:
        self._of, self._claims = projector, claims
        self._task = f"mlflow-{projector.sweep}"
        self._tracker: Tracker | None = None

    def begin(self) -> None:
        """Claim it unless another driver has; then show what is there already."""
        of = self._of
        if self._tracker or not (self._claims.free(self._task) and self._claims.take(self._task)):
            return
        self._tracker = Tracker(str(of.uri), of.sweep, of.place.address)
        self._tracker.start()
        for key, entry in of.index.entries.items():
            self._tracker.log(key, entry.outcome)

    def show(self, record: Record) -> None:
        """Show a new record."""
        if self._tracker:
            self._tracker.log(record.spec.key)
        else:
            self.begin()

    def end(self, warn: Callable[[str], None], *, hurry: bool) -> None:
        """Show the rest, and note whether that was all."""
        self.begin()
        if self._tracker is None:
            return
        of = self._of
        tally = self._tracker.close(of._complete, hurry=hurry)
        if tally.failed:
            warn(
                f"MLflow at {shown(str(of.uri))} missed {counted(tally.failed, 'trial')}"
                f"{f' ({tally.error})' if tally.error else ''}; "
                "`mica-sweep sync` will catch up"
            )
        else:
            mark_level(of.place, str(of.uri), of.sweep, of_trials(of._outcomes, complete=of._complete))
