"""What commands cost: each in a process of its own, all its children included."""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| ")


@dataclass(frozen=True)
class Cost:
    """One run of a command."""

    name: str
    seconds: float
    imports: float
    """Seconds in which Python loaded modules, in the same run, as PYTHONPROFILEIMPORTTIME has it."""
    cpu: float
    """Seconds of processors, the system's own included: on a busy machine the steadier number."""
    peak_mb: float
    """Most memory of any of its processes."""

    @property
    def beyond_imports(self) -> float:
        """Seconds of all else."""
        return self.seconds - self.imports


def measure(name: str, code: list[str]) -> Cost:
    """Run `python` with these arguments; raises `SystemExit` with what it said if it fails."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, *code], stdout=output, stderr=said, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    if process.returncode:
        rest = [line for line in lines if not line.startswith("import time:")]
        raise SystemExit("\n".join([f"{name}: exit code {process.returncode}", *rest]))
    imports = sum(int(found[1]) for line in lines if (found := _IMPORT.match(line))) / 1e6
    return Cost(name, seconds, imports, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def megabytes(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
