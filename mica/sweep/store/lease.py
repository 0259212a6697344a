"""A driver's lease on a store, so that no two drivers run the same trial."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from types import TracebackType

from mica.errors import UserError
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import LEASE

log = logging.getLogger(__name__)

_RENEW_SECONDS = 15.0
_STALE_SECONDS = 90.0
"""A lease that was not renewed for so long belongs to a driver that died on another machine."""
_SETTLE_SECONDS = 1.0
"""After so long the lease of a driver that started at the same moment is there too: the last one wins."""


class Lease:
    """Held while a driver works on a store; renewed in the background, released at the end.

    A driver that was killed leaves its lease behind. On the same machine the next one sees that the
    process is gone and takes over at once; from another machine it must wait until the lease is stale.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._released = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="mica-lease", daemon=True)

    def __enter__(self) -> "Lease":
        """Raises `UserError` while another driver holds the lease."""
        self._refuse(self._holder())
        self._write()
        time.sleep(_SETTLE_SECONDS)
        if not self._is_ours():
            self._refuse(self._holder())
            self._write()  # the other one is gone again
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._thread.join()
        try:
            if self._is_ours():
                self._folder.delete(LEASE)
        except OSError as error:  # it must not hide what went wrong before
            log.warning("the lease on %s could not be released: %s", self._folder.place, error)

    @property
    def held(self) -> bool:
        """Whether no other driver has taken the store over."""
        return not self._lost.is_set()

    def _refuse(self, holder: dict[str, object] | None) -> None:
        if holder is not None:
            raise UserError(
                f"storage {self._folder.place}: another driver is at work on it (process {holder['pid']} on "
                f"{holder['host']}); wait for it or stop it. If its machine is gone, the lease ends "
                f"{_STALE_SECONDS:.0f} seconds after its last sign of life"
            )

    def _is_ours(self) -> bool:
        return self._token.encode() in (self._folder.read(LEASE) or b"")

    def _holder(self) -> dict[str, object] | None:
        """Who holds the lease now; None when it is free, stale, or its process is gone."""
        content = self._folder.read(LEASE)
        try:
            holder: dict[str, object] = json.loads(content or b"")
            age = time.time() - float(str(holder["renewed"]))
            host, pid = str(holder["host"]), int(str(holder["pid"]))
        except (ValueError, KeyError, TypeError):
            return None
        if age > _STALE_SECONDS or (host == socket.gethostname() and not _alive(pid)):
            return None
        return holder

    def _write(self) -> None:
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": self._token,
            "renewed": time.time(),
        }
        self._folder.write(LEASE, json.dumps(holder).encode())

    def _renew(self) -> None:
        while not self._released.wait(_RENEW_SECONDS):
            try:
                # A machine that slept for longer than a lease lasts may wake to find a successor.
                if not self._is_ours():
                    self._lost.set()
                    return
                self._write()
            except OSError as error:  # a full disk, a lost network: perhaps gone the next time
                log.warning("the lease on %s could not be renewed: %s", self._folder.place, error)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's process is a process
        return True
    return True
