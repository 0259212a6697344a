"""Tracking of a running sweep, in a process of its own that takes the processor time that its trials leave.

The driver hands over keys, one a line, and an empty line in the end; the process reads the records from the
store, shows them in MLflow and answers each line with its `Tally` so far. Whatever MLflow does, the sweep
goes on.
"""

import contextlib
import json
import logging
import math
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO

from mica.data.location import shown
from mica.sweep.store.records import Store
from mica.sweep.track.projection import Projection, Tally
from mica.trial.record import Record

log = logging.getLogger(__name__)

_END = ""
"""In place of a key: there are no more."""
_PAUSE = 30.0
"""Seconds without a try after MLflow could not be reached."""


class Tracker:
    """The driver's end."""

    def __init__(
        self, uri: str, sweep: str, store: str, *, warn: Callable[[str], None] = log.warning
    ) -> None:
        """`store`: the records' place; `warn` is called once, when MLflow first fails, in the background."""
        self._uri, self._sweep, self._store, self._warn = uri, sweep, store, warn
        self._keys: list[str] = []
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._tally = Tally()
        self._given_up = False
        # A daemon: a server that does not answer must not keep this process from ending.
        self._thread = threading.Thread(target=self._work, name="mica-mlflow", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mica.sweep.track.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the driver, which then waits for what was handed over
        )
        self._thread.start()

    def log(self, key: str) -> None:
        """Hand a trial over that has its record; returns at once."""
        self._keys.append(key)
        self._queue.put(key)

    def close(self, patience: float = 30.0, *, rest: bool = True) -> Tally:
        """Wait until all that was handed over is shown.

        A process that takes more than so many seconds gets too little of a busy machine's time: the trials
        are over, so the rest is then done here, giving way to nobody; or not at all, without `rest`.
        """
        self._queue.put(_END)
        self._thread.join(patience)
        self._given_up = self._thread.is_alive()
        self._process.kill()
        self._thread.join()
        if self._given_up and rest:
            projection = Projection(self._uri, self._sweep, pause=math.inf)
            for key in self._keys:
                projection.log(key, partial(_read, Store(self._store), key))
            return projection.finish()
        return replace(self._tally, failed=len(self._keys) - self._tally.logged - self._tally.present)

    def _work(self) -> None:
        try:
            with self._process as process:
                assert process.stdin is not None and process.stdout is not None
                print(json.dumps([self._uri, self._sweep, self._store]), file=process.stdin, flush=True)
                key = None
                while key != _END:
                    key = self._queue.get()
                    print(key, file=process.stdin, flush=True)
                    self._note(_heard(process.stdout))
        except (OSError, EOFError):
            if not self._given_up:
                code = self._process.wait()
                self._note(replace(self._tally, error=f"its process ended with exit code {code}"))

    def _note(self, tally: Tally) -> None:
        if tally.error and not self._tally.error:
            self._warn(f"MLflow at {shown(self._uri)} fails, the sweep goes on: {tally.error}")
        self._tally = tally


def _heard(answers: IO[str]) -> Tally:
    line = answers.readline()
    if not line:
        raise EOFError
    return Tally(**json.loads(line))


def main() -> None:
    """The process's end."""
    _give_way()
    # What MLflow, or a program that it starts, may print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(tally: Tally) -> None:
        print(json.dumps(asdict(tally)), file=answers, flush=True)

    uri, sweep, place = json.loads(sys.stdin.readline())
    store, projection = Store(place), Projection(uri, sweep, pause=_PAUSE)
    projection.connect()
    # Where the driver is killed the pipe ends without a word: the sweep is not finished.
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            if (key := line.strip()) == _END:
                answer(projection.finish())
                break
            projection.log(key, partial(_read, store, key))
            answer(projection.tally())


def _give_way() -> None:
    """Leave the processors to the trials, whose workers Ray has made nicer than ordinary processes."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has these two
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # Where sessions share the processors, their processes' own niceness counts among themselves only.
        Path("/proc/self/autogroup").write_text("19")


def _read(store: Store, key: str) -> Record:
    stored = store.loose(key)
    if stored is None:
        raise LookupError(f"the record of {key} has vanished")
    return stored.record


if __name__ == "__main__":
    main()
