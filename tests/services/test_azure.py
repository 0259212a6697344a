"""Azure's blobs as a store's place, by Azurite: `npm install azurite`, found in PATH or by npx.

`make test` leaves this out; where Azurite is missing it fails.
"""

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from itertools import count
from pathlib import Path

import pytest

from mica.sweep.store.bucket import Bucket
from mica.sweep.store.place import Place
from mica.sweep.store.places import open_place
from mica.sweep.store.records import Store
from mica.sweep.store.segments import fold, segments
from mica.sweep.store.tables import trials_table
from tests.sweep.sample import stored
from tests.sweep.store.contract import PlaceContract

NUMBERS = count()
ACCOUNT, CONTAINER = "devstoreaccount1", "container"
KEY = base64.b64encode(b"a key of this test's own: 32 bytes or more").decode()


def command() -> list[str]:
    if found := shutil.which("azurite-blob"):
        return [found]
    assert shutil.which("npx"), "neither azurite nor npx: install node, then `npm install azurite`"
    return ["npx", "--no-install", "azurite-blob"]


def create_container(endpoint: str) -> None:
    """By Azure's own protocol: a PUT, signed with the account's key."""
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    path = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + headers + path
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    request = urllib.request.Request(
        f"{endpoint}/{CONTAINER}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0",
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
        },
    )  # fmt: skip
    urllib.request.urlopen(request).close()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; the environment says the rest."""
    folder = tmp_path_factory.mktemp("azurite")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    options += ["--skipApiVersionCheck", "--disableTelemetry"]
    environment = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with pytest.MonkeyPatch.context() as patch, open(folder / "log", "w") as log:
        for name, value in environment.items():
            patch.setenv(name, value)
        process = subprocess.Popen([*command(), *options], stdout=log, stderr=log)
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            wait_for(endpoint, process, folder / "log")
            create_container(endpoint)
            patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            patch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            patch.setenv("AZURE_ALLOW_HTTP", "true")
            yield f"az://{CONTAINER}/"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError:  # it answers
            return
        except OSError:
            time.sleep(0.2)
        else:
            return


class TestAzure(PlaceContract):
    impossible = "a//b"

    @pytest.fixture
    def place(self, azurite: str) -> Place:
        return open_place(f"{azurite}folder {next(NUMBERS)}")

    def test_errors_show_no_credentials(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"a wrong key").decode())
        wrong = Bucket(place.address)
        with pytest.raises(OSError, match=r"^az://container/folder \d+/a: ") as caught:
            wrong.create("a", b"1")
        assert KEY not in str(caught.value) and "Signature" not in str(caught.value)


def test_a_store_works_there(azurite: str) -> None:
    store = Store(f"{azurite}store")
    for key in "abc":
        assert store.put(stored(key)) == stored(key)
    assert store.put(stored("a", 61.5)) == stored("a")
    assert fold(store, at_least=1) == 3 and len(list(segments(store.place))) == 1
    assert trials_table(store, {}).num_rows == 3
