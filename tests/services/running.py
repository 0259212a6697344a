"""PostgreSQL, and an MLflow server over it, for as long as a block lasts."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.services.processes import Service, free_port

PASSWORD = "se/cr@et"


@dataclass(frozen=True)
class Database:
    service: Service
    uri: str


@dataclass(frozen=True)
class Server:
    service: Service
    uri: str
    """With credentials: a server behind a proxy asks for such."""


def postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if named := shutil.which("initdb"):
        found.append(Path(named).resolve())
    assert found, "these tests need PostgreSQL: apt-get install -y --no-install-recommends postgresql"
    return found[-1].parent


def not_root() -> str | None:
    """The user that PostgreSQL runs as, where this one is root, as whom it does not run."""
    return "postgres" if os.getuid() == 0 else None


@contextmanager
def running_postgres() -> Iterator[Database]:
    binaries, port = postgres_binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="mica-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if user := not_root():
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data = folder / "data"
        initdb = ["-D", data, "-U", "mica", "-A", "scram-sha-256", "--pwfile", folder / "password", "-N"]
        quiet = subprocess.DEVNULL
        subprocess.run([binaries / "initdb", *initdb], check=True, cwd="/", stdout=quiet, user=user)
        settings = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        service = Service(
            [str(binaries / "postgres"), "-D", str(data), *settings],
            folder / "log",
            lambda: accepts(binaries, port),
            user=user,
        )
        try:
            service.start()
            yield Database(
                service, f"postgresql+psycopg2://mica:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
            )
        finally:
            service.kill()
    finally:
        shutil.rmtree(folder)


def accepts(binaries: Path, port: int) -> bool:
    command = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False).returncode == 0


@contextmanager
def running_mlflow(postgres: Database, folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    options = ["--workers", "1", "--artifacts-destination", str(folder / "artifacts")]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": postgres.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    service = Service([*command, *options], folder / "log", lambda: healthy(port), environment)
    try:
        service.start()
        yield Server(service, f"http://mica:{quote(PASSWORD, safe='')}@127.0.0.1:{port}")
    finally:
        service.kill()


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
