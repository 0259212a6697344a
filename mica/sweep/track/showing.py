"""The process that shows records in MLflow: it takes the processor time that a sweep's trials leave.

Its input is a line of JSON that opens, then a line a trial, then one that says that there are no more; an
empty line of output after each says that it is ready for the next, and lines with the `Tally` so far come
in between. It ends when its driver does, whatever MLflow is doing.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mica.sweep.store.records import Store
from mica.sweep.track.credentials import scrubbed
from mica.sweep.track.projection import Projection, Tally
from mica.trial.record import Record

_PAUSE = 30.0
"""Seconds without a try after MLflow could not be reached."""
_LOOK, _GRACE = 1.0, 2.0
"""Seconds between two looks at whether the driver lives; left to what is being shown when it does not."""


def main() -> None:
    """Runs until it has shown all, or until its driver is gone."""
    _outlive_interrupts()
    # What MLflow, or a program that it starts, may print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(tally: Tally | None) -> None:
        print("" if tally is None else json.dumps(asdict(tally)), file=answers, flush=True)

    if not (line := sys.stdin.readline()):
        return
    opening = json.loads(line)
    lines = _lines_while_the_driver_lives()
    if opening["gives_way"]:
        _give_way()
    try:
        _show(opening, lines, answer)
    except BrokenPipeError:  # nobody listens any more
        pass
    except Exception:
        print(scrubbed(traceback.format_exc(), opening["uri"]), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)  # what MLflow has running in threads of its own keeps nobody waiting


def _show(
    opening: dict[str, str], lines: "queue.SimpleQueue[str | None]", answer: Callable[[Tally | None], None]
) -> None:
    store = Store(opening["store"])
    projection = Projection(opening["uri"], opening["sweep"], pause=_PAUSE, progress=answer)
    answer(projection.tally())  # so much for Python's own imports; MLflow's come with the connection
    if projection.connect():
        answer(projection.tally())
    while (line := lines.get()) is not None:
        told = json.loads(line)
        if "complete" in told:
            answer(projection.finish(told["complete"]))
            answer(None)
            return
        projection.log(told["key"], partial(_read, store, told["key"]), told["outcome"])
        answer(projection.tally())
        answer(None)


def _read(store: Store, key: str) -> Record:
    stored = store.latest(key)
    if stored is None:
        raise LookupError(f"the record of {key} has vanished")
    return stored.record


def _outlive_interrupts() -> None:
    """They are meant for the driver, which ends this process by its pipe."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, frame: None)


def _lines_while_the_driver_lives() -> "queue.SimpleQueue[str | None]":
    """What the driver says, and None when it is gone; a moment later this process is gone too.

    A pipe alone would not do: a process that the driver has started may hold its other end open.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    ended, driver = threading.Event(), os.getppid()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        ended.set()

    def watch() -> None:
        while not ended.wait(_LOOK) and os.getppid() == driver:
            pass
        lines.put(None)
        time.sleep(_GRACE)
        os._exit(1)

    for work in (read, watch):
        threading.Thread(target=work, daemon=True).start()
    return lines


def _give_way() -> None:
    """Leave the processors to the trials, whose workers Ray has made nicer than ordinary processes."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has these two
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # Where sessions share the processors, their processes' own niceness counts among themselves only.
        Path("/proc/self/autogroup").write_text("19")


if __name__ == "__main__":
    main()
