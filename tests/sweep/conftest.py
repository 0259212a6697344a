"""What tests of whole sweeps share."""

import pytest
import torch

from tests.sweep import ray_cluster


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """As in a worker of one core: other numbers of threads may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ray_address(monkeypatch: pytest.MonkeyPatch) -> str:
    """Sweeps of this test run on the shared cluster."""
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address())
    return ray_cluster.address()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `tests.undrawn`."""
    monkeypatch.setattr("mica.report.apart.report_ended", lambda results, apart: 0)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants to connect to Ray in this test fails."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
