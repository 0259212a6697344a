"""What runs now, on any machine, by what the drivers last said of themselves."""

from collections.abc import Iterable, Iterator

from mica.sweep.store.driver import Running, SignOfLife
from mica.wording import counted


def at_work_text(drivers: Iterable[SignOfLife]) -> Iterator[str]:
    """A line a driver, and one for each of its trials."""
    for said in drivers:
        left = "starting" if said.left is None else f"{counted(said.left, 'trial')} left"
        yield f"driver {said.driver} on {said.host} (process {said.pid}): {left}{_to_go(said.seconds_to_go)}"
        yield from map(_trial, said.running)


def _trial(item: Running) -> str:
    accuracy = "" if item.val_top1 is None else f", val top-1 {item.val_top1:.1f} %"
    rest = item.seconds / item.epoch * (item.epochs - item.epoch) if item.epoch else None
    return f"  {item.trial}: epoch {item.epoch}/{item.epochs}{accuracy}, on {item.host}{_to_go(rest)}"


def _to_go(seconds: float | None) -> str:
    if seconds is None:
        return ""
    units = ((1, "s", ".0f"), (60, "min", ".0f"), (3600, "h", ".1f"))
    size, name, form = next(unit for unit in units if seconds < 90 * unit[0] or unit is units[-1])
    return f", about {seconds / size:{form}} {name} to go"
