"""Whether Ray is there, as asked without Ray."""

import contextlib
import socket
import threading
import time

import pytest

from mica.errors import SweepIncomplete, UserError
from mica.sweep.drive import ray_cluster, ray_health
from mica.sweep.drive.ray_health import Health, check_reachable
from mica.sweep.drive.ray_thread import RayThread


@pytest.fixture
def listener() -> socket.socket:
    """Something that listens."""
    found = socket.create_server(("127.0.0.1", 0))
    yield found
    found.close()


def test_an_address_where_nobody_listens_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_health, "_REACH", 0.1)
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127.0.0.1:1 \(Connection refused\)"):
        check_reachable("127.0.0.1:1")


@pytest.mark.parametrize(("says", "why"), [
    (bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), ""),
    (b"SSH-2.0-OpenSSH", "what listens there is not Ray"),
    (b"", "timed out"),
])  # fmt: skip
def test_one_where_something_else_listens_too(
    says: bytes, why: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_health, "_GREET", 0.1)
    monkeypatch.setattr(ray_health, "_ANSWER", 0.2)

    def answer() -> None:
        with contextlib.suppress(OSError):
            while says:
                listener.accept()[0].sendall(says)

    threading.Thread(target=answer, daemon=True).start()
    port = listener.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UserError, match=why) if why else contextlib.nullcontext():
            check_reachable(address)
    check_reachable("auto")  # Ray knows where


def test_ray_has_died_once_it_has_not_answered_for_a_while(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_health, "_PERIOD", 0.01)
    health = Health({"raylet": listener.getsockname()}, patience=0.1)
    health.look()
    listener.close()
    began = time.monotonic()
    with pytest.raises(SweepIncomplete, match=r"its raylet at .* the same line again goes on"):
        while time.monotonic() < began + 5:
            health.look()
    assert time.monotonic() - began >= 0.1


def test_a_call_that_never_returns_is_given_up() -> None:
    thread, never = RayThread(), threading.Event()
    assert thread.call(lambda: 7) == 7

    def look() -> None:
        raise SweepIncomplete("Ray has died")

    with pytest.raises(SweepIncomplete):
        thread.call(never.wait, look)
    assert not thread.free
    never.set()
    thread.end()


def test_what_a_call_raises_comes_out_and_it_may_take_so_long_only() -> None:
    thread = RayThread()
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 / 0)
    with pytest.raises(TimeoutError):
        thread.call(lambda: time.sleep(0.3), seconds=0.05)
    time.sleep(0.5)
    thread.end()


@pytest.mark.parametrize(("raised", "expected"), [(Exception, UserError), (ValueError, ValueError)])
def test_where_ray_does_not_start_in_time_one_sentence_says_so(
    raised: type[Exception], expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise raised("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster.ray, "init", init)
    with pytest.raises(expected, match=r"The current node timed out") as caught, ray_cluster.cluster():
        pass
    assert ("Ray does not start" in str(caught.value)) == (expected is UserError)
