"""What all tests share: fixed examples for hypothesis, one thread a process, a cache of their own."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # more processes than cores: more threads would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else they get what other tests leave: next to nothing

import mica  # noqa: F401 — first of all, so that any test may import torchvision

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")


_ON_RAY = ("sweep/drive/test_nodes", "sweep/test_", "bench/test_bench", "cli/")
"""Tests that run sweeps: of two clusters at a time each would wait for the other."""
_ALONE = "services/test_nodes"
"""Minutes each, and nothing is shared."""
_FIRST = (*_ON_RAY, "chaos/", "edgewise/", "trial/", "services/test_nodes", "services/test_slurm")
"""Beside those on Ray, which mostly wait, runs what needs the machine; nothing long is left for the end."""


class _Grouped(LoadScopeScheduling):
    """Where several processes test: which tests share one, those on Ray all of them, others a file's.

    (xdist's own `loadgroup` marks groups in a way that pytest 9.2 passes over without a word.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = _file(nodeid)
        if file.startswith(_ALONE):
            return nodeid
        return "ray" if file.startswith(_ON_RAY) else file


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        file = _file(item.nodeid)
        return next((at for at, start in enumerate(_FIRST) if file.startswith(start)), len(_FIRST))

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Grouped(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_score_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICA_CACHE", str(tmp_path_factory.mktemp("scores")))
        yield
