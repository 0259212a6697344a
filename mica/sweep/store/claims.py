"""Claims: which driver runs which trial, where several share a store and its work."""

import json
import re
from collections.abc import Collection, Iterable
from contextlib import suppress

from mica.sweep.store.driver import Driver, Watch
from mica.sweep.store.layout import CLAIMS, DRIVERS, claim_numbers, claim_path, driver_names, driver_path
from mica.sweep.store.place import Obstacle, Place

_DRIVER = re.compile("[0-9a-f]{12}")


def release(place: Place) -> int:
    """Delete every claim and every driver's signs of life, by hand; returns how many claims there were.

    What a living driver runs is then run twice, at most: no record is harmed.
    """
    claims = place.list(CLAIMS)
    for path in (*claims, *place.list(DRIVERS)):
        place.delete(path)
    return len(claims)


class Claims:
    """The claims of one driver, and what it knows of the others'.

    A claim is a name that can be created only once. Who takes over from a driver that is dead counts on:
    of several who try, one creates the next number. A claim keeps others from repeating work and does no
    more: that no trial has two records is the records' own affair, whoever wakes up and goes on.
    """

    def __init__(self, place: Place, driver: Driver, watch: Watch) -> None:
        self._place, self._driver, self._watch = place, driver, watch
        self._held: dict[str, int] = {}
        self._told: dict[str, int] = {}
        """What was ours → number of the other driver's claim on it that we have said."""
        self._owners: dict[str, str] = {}
        """Path of a claim → the driver whose it is."""
        self._numbers: dict[str, int] = {}
        self._taken: frozenset[str] = frozenset()

    def look(self) -> None:
        """See what is claimed by now; a driver that is looked at often enough can be found dead."""
        self._numbers = claim_numbers(self._place.list(CLAIMS))
        paths = {
            what: claim_path(what, number) for what, number in self._numbers.items() if what not in self._held
        }
        self._owners = {path: self._owners[path] for path in paths.values() if path in self._owners}
        # A claim of ours that we do not hold: the answer to its making was lost, or its end was not written.
        alive = {self._driver.id: False}
        taken = set()
        for what, path in paths.items():
            if not self._lives(self._owner(path), alive):
                self._owners.pop(path, None)  # given up meanwhile, its name may be another's
                if not self._lives(self._owner(path), alive):
                    continue
            taken.add(what)
        self._taken = frozenset(taken)

    def free(self, what: str) -> bool:
        """Whether nobody else was at it when we looked."""
        return what not in self._taken

    def take(self, what: str) -> bool:
        """Claim a trial, or another task, by name; False: another driver is faster."""
        number = self._numbers.get(what, 0) + 1
        content = json.dumps({"driver": self._driver.id}).encode()
        if not self._place.create(claim_path(what, number), content, durable=False):
            self._taken |= {what}
            return False
        self._held[what] = number
        return True

    def lost(self) -> list[str]:
        """What was ours and others have taken over, for we gave no sign of life; each is said once."""
        others = {
            what: self._numbers[what]
            for what, number in self._held.items()
            if self._numbers.get(what, 0) > self._told.get(what, number)
        }
        self._told |= others
        return list(others)

    def drop(self, whats: Iterable[str]) -> None:
        """Give claims up, because what they are for is done or goes back."""
        for what in list(whats):
            number = self._held.pop(what, None)
            if number is not None:
                self._numbers.pop(what, None)  # whoever claims it next begins anew, we too
                self._told.pop(what, None)
                with suppress(OSError):  # then others wait until we are dead
                    for old in range(1, number + 1):
                        self._place.delete(claim_path(what, old))

    def drop_all(self) -> None:
        """Give all of them up."""
        self.drop(self._held)

    def tidy(self, done: Collection[str]) -> None:
        """Delete what dead drivers have left: claims on what is done, and their last signs of life."""
        for what, number in self._numbers.items():
            if what in done and self.free(what) and what not in self._held:
                for old in range(1, number + 1):
                    self._place.delete(claim_path(what, old))
        for driver in driver_names(self._place.list(DRIVERS)):
            if driver != self._driver.id and not self._watch.lives(driver):
                self._place.delete(driver_path(driver))

    def _lives(self, owner: str, alive: dict[str, bool]) -> bool:
        if owner not in alive:
            alive[owner] = self._watch.lives(owner)
        return alive[owner]

    def _owner(self, path: str) -> str:
        """The driver whose a claim is; of one that says nothing sound an unknown one, which never beats."""
        if path not in self._owners:
            with suppress(ValueError, KeyError, TypeError, RecursionError, Obstacle):
                owner = json.loads(self._place.read(path) or b"")["driver"]
                if _DRIVER.fullmatch(owner):
                    self._owners[path] = owner
        return self._owners.get(path, f"of-{path.rpartition('/')[2]}")
