"""No test reads or fills the user's own score cache."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_score_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICA_CACHE", str(tmp_path_factory.mktemp("scores")))
        yield
