from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATHC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
