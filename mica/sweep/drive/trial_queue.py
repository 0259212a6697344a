"""The trials that nobody has run yet: lanes take one after the other, and give back what they died of."""

from collections import Counter, deque
from collections.abc import Iterable

Packed = tuple[str, bytes]
"""A trial's key, and its spec pickled: only the lanes need to know what is inside."""


class TrialQueue:
    """Hands out each trial once; what a dead lane had taken, again."""

    def __init__(self, trials: Iterable[Packed], attempts: int) -> None:
        """`attempts`: as many lanes may die of one trial; then it is given up."""
        self._waiting = deque(trials)
        self._attempts = attempts
        self._taken: dict[int, list[Packed]] = {}
        """By lane: what it has taken since the driver last heard of it; all but the last have ended."""
        self._deaths: Counter[str] = Counter()

    def take(self, lane: int, *, heard: bool) -> Packed | None:
        """The next trial, or None; `heard`: the driver knows how those that the lane took before ended."""
        taken = self._taken.setdefault(lane, [])
        if heard:
            taken.clear()
        if not self._waiting:
            return None
        taken.append(self._waiting.popleft())
        return taken[-1]

    def died(self, lane: int) -> tuple[str, bool] | None:
        """A lane died: the key of the trial it was at, and whether that one is given up; None: it had none.

        All that it had taken goes to the head of the queue. Those before the last have their records, so
        whoever takes them next is done at once.
        """
        taken = self._taken.pop(lane, [])
        if not taken:
            return None
        suspect = taken[-1][0]
        self._deaths[suspect] += 1
        given_up = self._deaths[suspect] >= self._attempts
        if given_up:
            taken.pop()
        self._waiting.extendleft(reversed(taken))
        return suspect, given_up
