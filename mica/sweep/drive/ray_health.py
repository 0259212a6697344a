"""Whether Ray is there, asked without Ray: its own calls wait for minutes for one that is not."""

import os
import socket
import time
from collections.abc import Mapping

from mica.errors import SweepIncomplete, UserError

Address = tuple[str, int]

_PERIOD = 2.0
"""Seconds between two looks."""
_ANSWER = 2.0
"""Seconds that a connection may take."""
_REACH, _GREET = 5.0, 20.0
"""Seconds for which to try to reach a cluster: where nobody listens, and where somebody says nothing."""
_SLOW = 25.0
"""Seconds for which a connection may take too long; on a busy machine, or over a network, it may."""
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of gRPC begins; its server answers with a frame of the same kind, which is 4."""


def check_reachable(address: str) -> None:
    """Raises `UserError` where nobody answers at `HOST:PORT`, `ray://HOST:PORT`."""
    place = _place(address)
    if place is None:  # Ray knows what else it may be
        return
    began = time.monotonic()
    while (error := _fault(place, greet=os.environ.get("RAY_USE_TLS", "0") == "0")) is not None:
        patience = _REACH if isinstance(error, ConnectionRefusedError | socket.gaierror) else _GREET
        if time.monotonic() - began > patience:
            raise unreachable(address, error.strerror or str(error)) from error
        time.sleep(0.5)


def unreachable(address: str, why: str) -> UserError:
    """What a user is told of an address."""
    return UserError(
        f"no Ray cluster answers at {address} ({why}); `ray status --address {address}` asks it, and without "
        "--address and $RAY_ADDRESS this machine alone is used"
    )


class Health:
    """Looks after Ray's processes that this one depends on."""

    def __init__(self, places: Mapping[str, Address], patience: float) -> None:
        """
        Args:
            places: what to call it → where it listens.
            patience: seconds for which one may not answer.
        """
        self._places, self._patience = places, patience
        self._next = 0.0
        self._silent: dict[str, float] = {}

    def look(self) -> None:
        """Raises `SweepIncomplete` once one has not answered for too long; most calls return at once."""
        if (now := time.monotonic()) < self._next:
            return
        for name, place in self._places.items():
            fault = _fault(place)
            if fault is None:
                self._silent.pop(name, None)
            elif now - self._silent.setdefault(name, now) >= self._patience_with(fault):
                raise SweepIncomplete(
                    f"Ray has died: its {name} at {place[0]}:{place[1]} does not answer "
                    f"({fault.strerror or fault}); what has "
                    "ended is kept, and the same line again goes on"
                )
        self._next = time.monotonic() + _PERIOD

    def _patience_with(self, fault: OSError) -> float:
        refused = isinstance(fault, ConnectionRefusedError)
        return self._patience if refused else max(self._patience, _SLOW)


def _fault(place: Address, *, greet: bool = False) -> OSError | None:
    """Why nobody answers there; `greet`: or why nobody who speaks Ray's language does."""
    try:
        with socket.create_connection(place, _ANSWER) as connection:
            if greet:
                connection.sendall(_HELLO)
                if connection.recv(9)[3:4] != b"\x04":
                    return OSError("what listens there is not Ray")
    except OSError as error:
        return error
    return None


def _place(address: str) -> Address | None:
    host, colon, port = address.removeprefix("ray://").partition("?")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() else None
