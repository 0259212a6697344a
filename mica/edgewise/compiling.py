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
from torch import nn

from mica.edgewise import kernels
from mica.files import write_file

_PATIENCE = 600
"""Seconds to wait for another process that compiles the same."""
_ready: set[torch.dtype] = set()


def compile_apart(dtype: torch.dtype) -> None:
    """Have the kernels' machine code for this type in numba's cache, where there is a place for it."""
    folder = kernels.forward.stats.cache_path  # type: ignore[attr-defined]
    if dtype in _ready or folder is None:
        return
    _ready.add(dtype)
    done = Path(folder, f"{_code()}.{str(dtype).removeprefix('torch.')}")
    if done.exists():
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with FileLock(done.with_suffix(".lock"), timeout=_PATIENCE):
            if not done.exists():
                paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
                command = [sys.executable, "-m", "mica.edgewise.compiling", done.suffix[1:]]
                subprocess.run(command, env=paths, check=True, capture_output=True)
                write_file(done)
    except (OSError, subprocess.CalledProcessError, Timeout) as error:  # this process compiles for itself
        logging.getLogger(__name__).info("the kernels could not be compiled apart: %s", error)


def _code() -> str:
    """What numba, too, takes for a change: another source file, numba, or processor."""
    source = Path(kernels.__file__)
    changed = source.stat()
    processor = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    about = (str(source), changed.st_mtime_ns, changed.st_size, numba.__version__, processor)
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def main(name: str) -> None:
    """Run every kernel once, on numbers of a type."""
    # Not this module, which goes by the name of __main__ here.
    from mica.edgewise import compiling
    from mica.edgewise.block import Block

    dtype = getattr(torch, name)
    compiling._ready.add(dtype)
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=dtype)
    mask = torch.ones_like(conv.weight, dtype=torch.bool)
    for block in (
        Block(conv, mask, nn.BatchNorm2d(3, dtype=dtype), True, 2),
        Block(conv, mask, None, False, 1),
    ):
        block(torch.ones(4, 2, 8, 8, dtype=dtype, requires_grad=True)).sum().backward()


if __name__ == "__main__":
    main(sys.argv[1])
