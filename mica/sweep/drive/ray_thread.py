"""All that this process does with Ray is done in one thread, so that the main thread can give it up.

A call to a Ray that has died may not return for minutes, if ever, and hears no signal meanwhile.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")

NAME = "mica-ray"
_LOOK = 0.05
"""Seconds between two looks of the thread that waits."""


class RayThread:
    """Does what it is given, one thing after the other.

    It lives from before Ray starts until Ray has ended: the system ends the processes that Ray starts
    together with the thread that started them.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._busy: Future[Any] | None = None
        self._thread = threading.Thread(target=self._work, name=NAME, daemon=True)
        self._thread.start()

    @property
    def free(self) -> bool:
        """Whether it would hear of another call."""
        return self._busy is None or self._busy.done()

    def call(
        self, what: Callable[[], T], look: Callable[[], None] = lambda: None, seconds: float = float("inf")
    ) -> T:
        """What `what` returns; raises what it raises.

        Args:
            look: called over and over by the thread that waits; what it raises gives the call up.
            seconds: raises TimeoutError after so many.
        """
        future: Future[T] = Future()
        self._busy = future
        self._calls.put((future, what))
        until = time.monotonic() + seconds
        while not wait([future], _LOOK).done:
            look()
            if time.monotonic() > until:
                raise TimeoutError
        return future.result()

    def end(self) -> None:
        """Once what it does now has returned; it is not waited for longer than a moment."""
        self._calls.put(None)
        if self.free:
            self._thread.join(1)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, what = call
            try:
                future.set_result(what())
            except BaseException as error:
                future.set_exception(error)


def is_stuck() -> bool:
    """Whether a call to Ray never came back: this process would not end in the usual way."""
    return any(thread.name == NAME for thread in threading.enumerate())
