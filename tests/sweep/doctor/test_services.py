"""What answers over HTTP, with real servers of a few lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mica.sweep.doctor import services
from mica.sweep.doctor.services import mlflow_finding, openness


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers everything so; yields HOST:PORT."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_mlflow_that_answers_is_good_and_one_that_is_off_too() -> None:
    with answering(200) as place:
        assert mlflow_finding(f"http://{place}").level == "good"
    assert mlflow_finding(None).said == "off"
    assert mlflow_finding("sqlite:////x/mlflow.db").level == "good"


def test_a_dead_mlflow_is_named_without_its_password() -> None:
    found = mlflow_finding("http://me:secret@127.0.0.1:9")
    assert found.level == "bad"
    assert "127.0.0.1:9" in found.said and "refused" in found.said
    assert "sync" in found.remedy and "secret" not in str(found)


def test_a_server_that_refuses_the_host_or_is_none() -> None:
    with answering(403) as place:
        assert f"--allowed-hosts {place}" in mlflow_finding(f"http://{place}").remedy
    with answering(404) as place:
        assert "404" in mlflow_finding(f"http://{place}").said


def levels(tokens: bool | None, dashboard: str | None, *addresses: str) -> list[str]:
    return [finding.level for finding in openness(tokens, dashboard, list(addresses))]


def test_a_cluster_on_loopback_alone_is_no_danger() -> None:
    assert levels(False, None, "127.0.0.1", "127.0.0.2") == ["note", "good"]
    assert levels(None, "127.0.0.1:8265", "127.0.0.1") == ["note", "good"]


def test_no_tokens_on_a_network_is_bad() -> None:
    assert levels(False, "127.0.0.1:8265", "192.0.2.1") == ["bad", "good"]
    assert levels(True, None, "192.0.2.1") == ["good", "good"]


@pytest.mark.parametrize(("status", "level"), [(200, "bad"), (401, "good"), (403, "good")])
def test_a_dashboard_on_a_network_is_asked(status: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_is_loopback", lambda host: False)
    with answering(status) as place:
        assert levels(True, place, "192.0.2.1") == ["good", level]
    assert levels(True, "127.0.0.1:9", "192.0.2.1") == ["good", "note"]
