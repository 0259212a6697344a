"""Fixed examples for hypothesis; and no test reads or fills the user's own score cache."""

import pytest
from hypothesis import settings

import mica  # noqa: F401 — first of all, so that any test may import torchvision

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")


@pytest.fixture(scope="session", autouse=True)
def own_score_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICA_CACHE", str(tmp_path_factory.mktemp("scores")))
        yield
