"""The driver's side of one process that shows records: a thread talks to it, and hears how it goes."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO

from mica.sweep.track.projection import Tally

_LAST_SECONDS = 5.0
"""For a killed process to go."""


class Talk:
    """One process, from its start to its end. Nothing here waits but `wait` and `kill`."""

    def __init__(
        self, uri: str, sweep: str, store: str, *, gives_way: bool, hear: Callable[[Tally], None]
    ) -> None:
        """`hear`: told of each `Tally`, in the background."""
        self._opening = {"uri": uri, "sweep": sweep, "store": store, "gives_way": gives_way}
        self._hear = hear
        self._lines: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        self._tally = Tally()
        self._steps = 0
        """How often something went on."""
        self.process: subprocess.Popen[str] | None = None
        self.over = False
        """Whether it came to its end in peace."""
        self._killed = self.died = False
        # A daemon: a server that does not answer must not keep this process from ending.
        self._thread = threading.Thread(target=self._work, name="mica-mlflow", daemon=True)

    def start(self) -> None:
        """Returns at once; where no process can be started that is heard as an error."""
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mica.sweep.track.showing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the driver, which then waits for what was handed over
            )
        except OSError as error:
            self.died = True
            self._hear(Tally(error=f"no process for it can be started: {error}"))
            return
        self._thread.start()

    def tell(self, key: str, outcome: str | None) -> None:
        """Of a trial that is to be shown."""
        self._lines.put({"key": key, "outcome": outcome})

    def end(self, complete: bool) -> None:
        """There are no more."""
        self._lines.put({"complete": complete})

    def wait(self, patience: float) -> bool:
        """Whether it has come to its end; gives up when nothing went on for so many seconds."""
        steps, since = self._steps, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < patience:
            self._thread.join(0.2)
            if self._steps != steps:
                steps, since = self._steps, time.monotonic()
        return self.over

    def kill(self) -> None:
        """End it now; its thread too, unless the system does not let the process go."""
        self._killed = True
        if self.process is not None:
            self.process.kill()
            self._thread.join(_LAST_SECONDS)

    def _work(self) -> None:
        assert self.process is not None
        try:
            with self.process as process:
                assert process.stdin is not None and process.stdout is not None
                print(json.dumps(self._opening), file=process.stdin, flush=True)
                while not self.over:
                    line = self._lines.get()
                    print(json.dumps(line), file=process.stdin, flush=True)
                    self._listen(process.stdout)
                    self.over = "complete" in line
        except (OSError, EOFError, ValueError):
            if not self._killed:
                self.died = True
                code = self.process.wait()
                self._hear(replace(self._tally, error=f"its process ended with exit code {code}"))

    def _listen(self, answers: IO[str]) -> None:
        """Until it is ready for more."""
        while line := answers.readline():
            if not line.strip():
                return
            before, self._tally = self._tally, Tally(**json.loads(line))
            # That one trial more was missed is nothing to wait for.
            self._steps += self._tally.shown > before.shown or self._tally.error is None
            self._hear(self._tally)
        raise EOFError
