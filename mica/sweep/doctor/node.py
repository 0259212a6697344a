"""What a node says of itself. Any process can be asked: one that Ray starts there, or this one."""

import hashlib
import importlib
import os
import platform
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mica
from mica.errors import UserError
from mica.named import Named
from mica.registry import code_digest
from mica.sweep.store.layout import PROBES
from mica.sweep.store.place import Place
from mica.wording import shown

_PACKAGES = ("torch", "ray", "numpy", "numba")
"""Whose versions change numbers, or keep processes from understanding each other."""
NOT_THERE = "not there"


@dataclass(frozen=True)
class Question:
    """What every node is asked."""

    place: Place
    """Where the records will go."""
    probe: str
    """Begins the names of what the nodes leave there for each other."""
    modules: tuple[str, ...] = ()
    """Names of the user's own, `package.module:function`."""
    data: Mapping[str, Named] = field(default_factory=dict)
    """Label → data set to look for."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One that torch can use."""

    name: str
    memory: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """One node, as a process on it sees it."""

    host: str
    versions: Mapping[str, str]
    """Python, mica and its packages → version; `mica's files` → a digest of them."""
    cores: int
    """That this process may use."""
    memory: int
    """Bytes of the machine; 0: unknown."""
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False
    """Whether NVIDIA's multi-process service runs."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """A user's own name → digest of its module, or why it cannot be imported."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Data set's label → its digest, or why it is not found."""
    storage: str = ""
    """Why the storage cannot be used; empty: it can."""


@dataclass(frozen=True)
class Sight:
    """What a node sees once all have been asked."""

    probes: frozenset[str]
    """The nodes whose probes it finds in the storage."""
    seconds: float
    """Since 1970, by its clock."""


def examine(question: Question, node: str) -> NodeReport:
    """Look at everything from this process, and leave a probe in the storage in the node's name."""
    storage = _storage(question, node)
    return NodeReport(
        host=socket.gethostname(),
        versions=_versions(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=_memory(),
        gpus=_gpus(),
        mps=_mps(),
        modules={name: _module(name) for name in question.modules},
        data={label: _data(chosen) for label, chosen in question.data.items()},
        storage=storage,
    )


def look_around(question: Question) -> Sight:
    """What is seen from here; no probes where the storage cannot be listed."""
    begin, found = probe_path(question, ""), frozenset[str]()
    with suppress(OSError):
        names = question.place.list(PROBES)
        found = frozenset(name.removeprefix(begin) for name in names if name.startswith(begin))
    return Sight(found, time.time())


def probe_path(question: Question, node: str) -> str:
    """What a node leaves in the storage."""
    return f"{PROBES}/{question.probe}-{node}"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "mica": mica.__version__, "mica's files": _own_digest()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def _own_digest() -> str:
    root, sha = Path(mica.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sha.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return sha.hexdigest()[:12]


def _memory() -> int:
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def _gpus() -> tuple[Gpu, ...]:
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""  # by Ray, from a task that asks for none
    if hidden:
        del os.environ["CUDA_VISIBLE_DEVICES"]
    try:
        found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return tuple(Gpu(name=each.name, memory=each.total_memory) for each in found)
    finally:
        if hidden:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _mps() -> bool:
    pipe = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return Path(pipe, "control").exists()


def _module(name: str) -> str:
    try:
        importlib.import_module(name.partition(":")[0])
    except (Exception, SystemExit) as error:  # a user's own module may raise anything while it is loaded
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return code_digest(name) or NOT_THERE


def _data(chosen: Named) -> str:
    from mica.trial import open_data

    try:
        return open_data(chosen).digest
    except UserError as error:
        return shown(str(error))


def _storage(question: Question, node: str) -> str:
    try:
        question.place.check()
        question.place.create(probe_path(question, node), node.encode(), durable=False)
    except (UserError, OSError) as error:
        return shown(str(error))
    return ""
