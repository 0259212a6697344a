"""Threads that take one thing each, for compiled code that lets others run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """Calls a function for several things at a time, or for one after another where there is one thread."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "mica-worker") if threads > 1 else None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown()

    def each(self, function: Callable[[T], R], things: Sequence[T]) -> list[R]:
        """What it returns for each, in order."""
        return list(self._pool.map(function, things)) if self._pool else [function(thing) for thing in things]
