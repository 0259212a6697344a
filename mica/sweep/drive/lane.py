"""A lane: a process on a cluster that runs trial after trial, as long as its desk has some."""

import os
import pickle
import signal
import threading
import time
from types import FrameType
from typing import Any

import ray
from ray import tune

from mica.sweep.drive.desk import Ended
from mica.sweep.drive.executor import Need, device_of, threads_of
from mica.sweep.drive.progress import Report
from mica.sweep.drive.pulse import Pulse, Stopped, Telling
from mica.sweep.drive.ray_nodes import here
from mica.sweep.plan.spec import Times
from mica.sweep.store.records import Store
from mica.trial.spec import TrialSpec

_IDLE_SECONDS = (0.02, 1.0)
"""How long a lane that finds nothing waits before it asks again: at first, and at most."""
_ANSWER_SECONDS = 10.0
"""How long a report may take: the next one says it all again."""


class Lane(tune.Trainable):  # type: ignore[misc]
    """Runs trial after trial in one process; nothing but the loaded data outlives a trial."""

    def setup(
        self,
        config: dict[str, Any],
        desks: list[Any],
        needs: list[Need],
        sweep: str,
        store: Store,
        data: dict[str, ray.ObjectRef],
        times: Times,
    ) -> None:
        """`config`: the lane's number, and that of its line, whose desk and need are its own."""
        import torch

        from mica.trial.device import checked_device

        desk, need = desks[config["line"]], needs[config["line"]]
        torch.set_num_threads(threads_of(need))
        self.desk, self.sweep, self.store, self.data = desk, sweep, store, data
        self.times = times
        # A broken GPU must not be handed trial after trial.
        self.device = checked_device(device_of(need))
        if self.device != "cpu" and need["gpu"] < 1:
            torch.cuda.set_per_process_memory_fraction(need["gpu"])
        self.pulse, self.terminated = Pulse(), False
        self.hears = threading.current_thread() is threading.main_thread()
        if self.hears:
            signal.signal(signal.SIGTERM, self._terminate)
        self.worker = ray.get(desk.enter.remote(config["lane"], here()))

    def step(self) -> dict[str, Any]:
        """A lane's whole life: the trials that it is given, until it may leave."""
        ended, pause = None, _IDLE_SECONDS[0]
        with Telling(self.pulse, self._tell, self._stop):
            while not self.terminated:
                answer = ray.get(self.desk.take.remote(self.worker, ended))
                if answer == "leave":
                    return {"done": True}
                if answer == "wait":
                    ended, pause = None, min(2 * pause, _IDLE_SECONDS[1])
                    time.sleep(pause)
                else:
                    ended, pause = self._run(*answer), _IDLE_SECONDS[0]
        ray.get(self.desk.leave.remote(self.worker, ended))
        return {"done": True}

    def _run(self, key: str, packed: bytes) -> Ended:
        from mica.sweep.drive.worker import run_and_store

        spec: TrialSpec = pickle.loads(packed)
        try:
            run_and_store(
                spec,
                self.sweep,
                self.store,
                load=lambda: ray.get(self.data[spec.data.label]),
                device=self.device,
                times=self.times,
                pulse=self.pulse,
            )
        except Stopped:
            return Ended(key, "back")
        except OSError as error:  # the storage's: a full disk, say
            return Ended(key, "unsaved", str(error))
        return Ended(key, "stored")

    def _tell(self, report: Report) -> bool:
        return bool(ray.get(self.desk.report.remote(self.worker, report), timeout=_ANSWER_SECONDS))

    def _stop(self) -> None:
        """Told by the desk, which has no more trials for this lane: like a request to terminate."""
        self.pulse.stop()
        if self.hears and not self.pulse.stepping:
            os.kill(os.getpid(), signal.SIGTERM)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """This process is to end: what it is at goes back, and counts as nobody's failure."""
        self.terminated = True
        self.pulse.stop(for_good=True)
        if self.pulse.report is not None and not self.pulse.stepping:
            raise Stopped  # in the middle of a mask, say: there is nothing to save
