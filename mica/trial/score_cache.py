"""Scores on this machine's disk, shared by all trials and processes; losing them costs time only."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from mica.errors import UserError
from mica.files import cache_folder, write_file
from mica.pruners.scores.score_key import Tensors

_BYTES = 4_000_000_000
_PATIENCE = 600.0
"""Seconds to wait for another process that computes the same, before doing so too."""
_DTYPES = {"bool", "float16", "bfloat16", "float32", "float64"}
_DIGEST = hashlib.sha256().digest_size
_ALIGNED = 64


def score_cache() -> "FileScoreCache":
    """This user's cache, of at most $MICA_CACHE_BYTES bytes."""
    limit = os.environ.get("MICA_CACHE_BYTES", str(_BYTES))
    if not limit.isdigit():
        raise UserError(f"MICA_CACHE_BYTES is {limit!r}; it must be a whole number of bytes")
    return FileScoreCache(cache_folder() / "scores", int(limit))


class FileScoreCache:
    """Tensors by key, one file each; beyond `limit` bytes the least recently used go.

    A file that is torn, foreign, gone or out of reach is computed anew, and nothing that goes wrong
    here is an error: the first time it is logged.
    """

    def __init__(self, folder: Path, limit: int = _BYTES, patience: float = _PATIENCE) -> None:
        self._folder, self._limit, self._patience = folder, limit, patience

    def get_or_compute(self, key: str, compute: Callable[[], Tensors]) -> Tensors:
        """What `compute` gave for this key before, on the CPU; else what it gives now."""
        found = self._read(key)
        if found is not None:
            return found
        with self._alone(key):
            found = self._read(key)  # made by another process while this one waited
            if found is not None:
                return found
            made = compute()
            self._write(key, made)
            return made

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        path = self._folder / f"{key}.lock"
        lock = FileLock(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch()  # at once an error where no file can be made; a lock may wait there
            lock.acquire(timeout=self._patience)
        except (OSError, NotImplementedError) as error:  # a timeout is an OSError too
            _warn(self._folder, error)
        try:
            yield
        finally:
            lock.release()

    def _read(self, key: str) -> dict[str, Tensor] | None:
        path = self._folder / f"{key}.scores"
        try:
            content = np.fromfile(path, dtype=np.uint8)
            with suppress(OSError):
                os.utime(path)
            return _decode(key, content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _warn(self._folder, error)
            return None

    def _write(self, key: str, tensors: Tensors) -> None:
        try:
            parts = _encode(key, tensors)
            if sum(map(len, parts)) > self._limit:
                return
            write_file(self._folder / f"{key}.scores", *parts)
            self._drop_oldest()
        except OSError as error:
            _warn(self._folder, error)

    def _drop_oldest(self) -> None:
        files = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # dropped by another process
                files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        excess = sum(size for _, size, _ in files) - self._limit
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            if size:  # locks are empty
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
                excess -= size


def _encode(key: str, tensors: Tensors) -> list[bytes]:
    """A file's parts: digest of the rest, length of the header, header, tensors; all aligned."""
    arrays = [_bytes(tensor.detach().cpu().contiguous()) for tensor in tensors.values()]
    about = [
        (name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), len(array))
        for (name, tensor), array in zip(tensors.items(), arrays, strict=True)
    ]
    header = json.dumps({"key": key, "tensors": about}).encode()
    start = (_DIGEST + 8 + len(header)).to_bytes(8, "little")
    rest = [start, header]
    for array in arrays:
        rest += [bytes(-sum(map(len, rest), _DIGEST) % _ALIGNED), array.tobytes()]
    sha = hashlib.sha256()
    for part in rest:
        sha.update(part)
    return [sha.digest(), *rest]


def _bytes(tensor: Tensor) -> np.ndarray:
    if tensor.dtype == torch.bool:
        return np.packbits(tensor.numpy())
    return tensor.view(-1).view(torch.uint8).numpy()


def _decode(key: str, content: np.ndarray) -> dict[str, Tensor]:
    """Raises `ValueError`, `KeyError` or `TypeError` for anything but what `_encode` made for this key."""
    if hashlib.sha256(content[_DIGEST:].data).digest() != content[:_DIGEST].tobytes():
        raise ValueError(f"a file of the score cache is damaged and is made anew: {key}")
    place = int.from_bytes(content[_DIGEST : _DIGEST + 8].tobytes(), "little")
    header = json.loads(content[_DIGEST + 8 : place].tobytes())
    if header["key"] != key:
        raise ValueError(f"a file of the score cache belongs to another key: {key}")
    tensors = {}
    for name, dtype, shape, length in header["tensors"]:
        if dtype not in _DTYPES:
            raise ValueError(f"a file of the score cache holds {dtype}: {key}")
        place += -place % _ALIGNED
        part = content[place : place + length]
        place += length
        if dtype == "bool":
            bits = np.unpackbits(part, count=math.prod(shape))
            tensors[name] = torch.from_numpy(bits).view(torch.bool).view(shape)
        else:
            tensors[name] = torch.from_numpy(part).view(getattr(torch, dtype)).view(shape)
    return tensors


def _warn(folder: Path, error: Exception) -> None:
    if folder not in _warned:
        _warned.add(folder)
        logging.getLogger(__name__).warning("scores are not kept in %s: %s", folder, error)


_warned: set[Path] = set()
"""Folders whose first fault has been logged by this process."""
