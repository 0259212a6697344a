"""What all tests share: fixed examples for hypothesis, one thread a process, a cache of their own."""

import os

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes on two cores: more threads would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import mica  # noqa: F401 — first of all, so that any test may import torchvision

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")


ON_RAY = ("sweep/drive/test_nodes", "sweep/test_", "bench/test_bench", "cli/")
"""Tests that run sweeps: of two clusters at a time each would wait for the other."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests share a process where there are several: those on Ray all of them, others a file's."""
    for item in items:
        file = item.nodeid.partition("::")[0].removeprefix("tests/")
        item.add_marker(pytest.mark.xdist_group("ray" if file.startswith(ON_RAY) else file))


@pytest.fixture(scope="session", autouse=True)
def own_score_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICA_CACHE", str(tmp_path_factory.mktemp("scores")))
        yield
