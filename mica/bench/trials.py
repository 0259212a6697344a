"""What a sweep costs beside its trials: a real one, through Ray, whose trials do next to nothing."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mica.bench.measurements import TrialsRow
from mica.errors import UserError

_SWEEP = """\
name: nothing
data: {{name: synthetic, size: 2, channels: 1, train: 20, test: 10}}
models: [{{name: mlp, hidden: [4]}}]
seeds: {seeds}
ratios: [1.5]
methods: [rpi-uniform]
protocol: {{epochs: 0}}
storage: {storage}
mlflow: false
"""


def time_trials(count: int) -> TrialsRow:
    """Run so many trials by `mica-sweep run` on this machine, in a process and a folder of their own.

    Raises:
        UserError: the sweep fails; its last lines say why.
    """
    with tempfile.TemporaryDirectory(prefix="mica-bench-") as folder:
        sweep = Path(folder, "nothing.yaml")
        sweep.write_text(_SWEEP.format(seeds=list(range(count)), storage=Path(folder, "results")))
        begin = time.perf_counter()
        with open(Path(folder, "log"), "w+") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", "mica.cli", "run", str(sweep), "--address", "local"],
                stdout=log,
                stderr=log,
            )
            most = 0.0
            while driver.poll() is None:
                most = max(most, _resident_mb(driver.pid))
                time.sleep(0.1)
            seconds = time.perf_counter() - begin
            if driver.returncode:
                log.seek(0)
                raise UserError(f"the sweep of no-op trials failed:\n{log.read()[-2000:]}")
    return TrialsRow(trials=count, seconds=seconds, driver_mb=most)


def _resident_mb(pid: int) -> float:
    """Peak resident memory of a process so far; 0 where the system does not tell it in this way."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0
