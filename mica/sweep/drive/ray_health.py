"""Whether Ray is there, asked without Ray: its own calls wait for minutes for one that is not."""

import socket
import time
from collections.abc import Mapping

from mica.errors import SweepIncomplete, UserError

Address = tuple[str, int]

_PERIOD = 2.0
"""Seconds between two looks."""
_ANSWER = 2.0
"""Seconds that a connection may take."""
_REACH = 5.0
"""Seconds for which to try to reach a cluster."""


def check_reachable(address: str) -> None:
    """Raises `UserError` where nobody answers at `HOST:PORT`, `ray://HOST:PORT`."""
    place = _place(address)
    if place is None:  # Ray knows what else it may be
        return
    until, error = time.monotonic() + _REACH, ""
    while time.monotonic() < until:
        fault = _fault(place)
        if fault is None:
            return
        error = fault
        time.sleep(0.5)
    raise unreachable(address, error)


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
            elif now - self._silent.setdefault(name, now) >= self._patience:
                raise SweepIncomplete(
                    f"Ray has died: its {name} at {place[0]}:{place[1]} does not answer ({fault}); what has "
                    "ended is kept, and the same line again goes on"
                )
        self._next = time.monotonic() + _PERIOD


def _fault(place: Address) -> str | None:
    """Why nobody answers there."""
    try:
        socket.create_connection(place, _ANSWER).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _place(address: str) -> Address | None:
    host, colon, port = address.removeprefix("ray://").partition("?")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() else None
