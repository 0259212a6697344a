"""Where a trial ran, and how long its phases took."""

import os
import platform
import socket
import stat
import time
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

import mica
from mica.trial.record import Provenance


def provenance(
    device: str, started: datetime, seconds_data: float = 0, seconds_mask: float = 0, seconds_train: float = 0
) -> Provenance:
    """This process and machine, and the seconds of a trial's phases."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return Provenance(
        host=socket.gethostname(),
        device=name,
        log=_log(),
        threads=torch.get_num_threads(),
        started=started.isoformat(timespec="seconds"),
        seconds_data=seconds_data,
        seconds_mask=seconds_mask,
        seconds_train=seconds_train,
        versions={
            "mica": mica.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            **({"numba": version("numba")} if find_spec("numba") else {}),
        },
    )


def _log() -> str | None:
    """The file behind this process's standard error: Ray gives each worker one, Slurm each task."""
    try:
        place = os.readlink("/proc/self/fd/2")
    except OSError:  # only Linux tells
        return None
    return place if stat.S_ISREG(os.fstat(2).st_mode) else None


class Clock:
    """Seconds of one phase after the other."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._last = time.perf_counter()

    def lap(self) -> float:
        begin, self._last = self._last, time.perf_counter()
        return self._last - begin
