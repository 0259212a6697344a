"""A proxy before a server: it passes everything on, or is away, or slow, or loses the answers."""

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

Mood = Literal["well", "away", "slow", "losing"]


@dataclass
class Proxy:
    """Listens on a port of its own for a server on another, until it is closed."""

    server: int
    mood: Mood = "well"
    seconds: float = 2.0
    """By which a slow one delays each request."""
    _socket: socket.socket = field(
        default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=128)
    )

    def __post_init__(self) -> None:
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.mood == "away":
                return
            with socket.create_connection(("127.0.0.1", self.server)) as server:
                back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                back.start()
                while data := client.recv(1 << 16):
                    if self.mood == "away":
                        return
                    if self.mood == "slow":
                        time.sleep(self.seconds)
                    server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        """An answer is lost when the server has given it: what was asked for is done."""
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if self.mood in ("away", "losing"):
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
