"""The services, once a session. Where they are missing these tests fail: nobody reads skips."""

from collections.abc import Iterator

import pytest

from tests.services.running import Database, Server, running_mlflow, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    with running_postgres() as database:
        yield database


@pytest.fixture(scope="session")
def mlflow_server(postgres: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_mlflow(postgres, tmp_path_factory.mktemp("mlflow")) as server:
        yield server
