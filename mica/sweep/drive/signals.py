"""Ctrl-C and a request to terminate: the first ends a command in order, the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mica.sweep.drive.children import descendants, end

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody wishes that this process end, and how it does."""

    def __init__(self) -> None:
        self._came = 0
        self._gently: Callable[[], bool] | None = None
        self.last_words: Callable[[], str] = lambda: "interrupted"
        """What to say where it ends at once."""

    @property
    def came(self) -> bool:
        """Whether there was a signal."""
        return self._came > 0

    @contextmanager
    def gently(self, stop: Callable[[], bool]) -> Iterator[None]:
        """Meanwhile the first signal calls `stop`; where that returns False, it raises KeyboardInterrupt."""
        self._gently = stop
        try:
            yield
        finally:
            self._gently = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals."""
        self._came += 1
        if self._came > 1:
            processes = descendants()
            _say(self.last_words())
            end(processes)
            os._exit(128 + signal.SIGINT)
        _say("stopping: what runs saves what it has come to; again to stop at once")
        if self._gently is None or not self._gently():
            raise KeyboardInterrupt


@contextmanager
def caught() -> Iterator[Interruption]:
    """Meanwhile both signals are heard, where this is the main thread: no other may hear them."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.handle) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hear_again() -> None:
    """Put this process's own handlers back where a library has put its own beneath Python's."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


@contextmanager
def put_off() -> Iterator[None]:
    """Meanwhile this thread hears of no SIGTERM, nor do threads and processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _say(text: str) -> None:
    """Written past all buffers: a handler may run in the middle of another's writing."""
    line = "\n" if sys.stderr.isatty() else ""
    os.write(2, f"{line}{text}\n".encode())
