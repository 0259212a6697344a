"""Places to test stores on: a local S3 server, a share whose clients see old states, a place with faults."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

import pytest

from mica.sweep.store.folder import Folder

SECRET = "not-to-be-shown"
BUCKET = "bucket"


def environment(endpoint: str) -> dict[str, str]:
    """What obstore reads to find a local S3 server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's S3 with one bucket, in this process; yields its endpoint."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    put, alone = S3Response.put_object, Lock()

    def put_alone(request: S3Response) -> Any:
        with alone:  # moto looks whether a name is there, and creates it after that
            return put(request)

    server = ThreadedMotoServer(port=0)
    server.start()
    endpoint = f"http://127.0.0.1:{server._server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", put_alone)
        for name, value in environment(endpoint).items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    server.stop()


class Share(Folder):
    """An emulated shared folder: what others do is seen up to `LAG` seconds late, as by NFS's caches.

    Creating is atomic, and what this client does itself it sees at once. Others' files are seen late, their
    deletions too: then there is a name, and nothing to read.
    """

    LAG = 0.5

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._own: set[str] = set()
        self._gone: dict[str, float] = {}
        self._listed: dict[str, tuple[float, list[str]]] = {}

    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        won = super()._create(name, content, durable=durable)
        if won:
            self._own.add(name)
        return won

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self._own.add(name)
        super().write(name, content, durable=durable)

    def upload_file(self, source: Path, name: str) -> None:
        self._own.add(name)
        super().upload_file(source, name)

    def open(self, name: str) -> Any:
        return super().open(name) if self._seen(name) else None

    def list(self, folder: str) -> list[str]:
        now = time.monotonic()
        at, names = self._listed.get(folder, (-1.0, []))
        real = super().list(folder)
        if now - at > self.LAG:
            at, names = now, real
            self._listed[folder] = at, names
        return sorted({*names} | {name for name in real if name in self._own})

    def delete(self, name: str) -> None:
        super().delete(name)
        self._forget(name)

    def _move(self, name: str, to: str) -> bool:
        moved = super()._move(name, to)
        self._own.add(to)
        self._forget(name)
        return moved

    def _forget(self, name: str) -> None:
        self._listed = {
            folder: (at, [one for one in names if one != name])
            for folder, (at, names) in self._listed.items()
        }

    def _seen(self, name: str) -> bool:
        """Whether this client knows that the file is there."""
        try:
            age = time.time() - os.lstat(self._path(name)).st_ctime
        except OSError:
            return True
        return name in self._own or age > self.LAG


class Heedless(Folder):
    """Storage that ignores the condition: whoever creates a name wins, and overwrites."""

    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        self.write(name, content, durable=durable)
        return True


class Deaf(Folder):
    """The write is done, and its answer lost: an error, or, of a request that was sent twice, "is there"."""

    answer: type[OSError] | None = TimeoutError

    def _create(self, name: str, content: bytes, *, durable: bool) -> bool:
        super()._create(name, content, durable=durable)
        if self.answer is not None:
            raise self.answer("no answer")
        return False


class _Careless(BaseHTTPRequestHandler):
    """As little of S3 as `Place.check` needs; it knows nothing of If-None-Match."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if "list-type" in parse_qs(asked.query):
            names = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in self.objects)
            self._answer(200, f"<ListBucketResult>{names}</ListBucketResult>".encode())
        else:
            found = self.objects.get(asked.path)
            self._answer(404 if found is None else 200, found or b"")

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        deleted = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in self.objects)
        self.objects.clear()
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _answer(self, code: int, content: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{uuid4().hex}"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def careless_server() -> Iterator[str]:
    """An S3 server that ignores If-None-Match; yields its endpoint."""
    handler = type("Handler", (_Careless,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
