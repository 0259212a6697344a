"""Compile the kernels once a machine, in a process of its own.

A process that has just compiled a kernel runs other copies of its inner functions than one that loads it
from numba's cache. Both are right, but their sums are rounded otherwise. So that a trial's numbers do not
depend on which process came first, every process loads.
"""

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numba
import torch
from filelock import FileLock, Timeout

from mica.edgewise import kernels
from mica.files import write_file

log = logging.getLogger(__name__)

_PATIENCE = 600
"""Seconds to wait for another process that compiles the same."""
ready: set[torch.dtype] = set()
"""Types that this process need not have compiled any more."""


def compiled(dtype: torch.dtype) -> bool:
    """Whether the kernels' machine code for this type is there already."""
    return dtype in ready or ((done := _done(dtype)) is not None and done.exists())


def compile_apart(dtype: torch.dtype) -> None:
    """Have the kernels' machine code for this type in numba's cache, where there is a place for it."""
    if compiled(dtype) or (done := _done(dtype)) is None:
        ready.add(dtype)
        return
    ready.add(dtype)
    try:
        done.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(done.with_suffix(".lock"), timeout=_PATIENCE):
            if not done.exists():
                log.info("compiling the kernels, once on this machine: half a minute or more")
                paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
                command = [sys.executable, "-m", "mica.edgewise.warming", done.suffix[1:]]
                subprocess.run(command, env=paths, check=True, capture_output=True)
                write_file(done)
    except (OSError, subprocess.CalledProcessError, Timeout) as error:  # this process compiles for itself
        log.info("the kernels could not be compiled apart: %s", error)


def _done(dtype: torch.dtype) -> Path | None:
    """The file that says so; None where there is no place for a cache."""
    folder = kernels.forward.stats.cache_path  # type: ignore[attr-defined]
    return Path(folder, f"{_code()}.{str(dtype).removeprefix('torch.')}") if folder else None


def _code() -> str:
    """What numba, too, takes for a change: another source file, numba, or processor."""
    source = Path(kernels.__file__)
    changed = source.stat()
    processor = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    about = (str(source), changed.st_mtime_ns, changed.st_size, numba.__version__, processor)
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]
