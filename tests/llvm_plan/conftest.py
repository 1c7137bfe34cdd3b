from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llvm_net"))


@pytest.fixture(autouse=True, scope="session")
def cache_of_plan_tests(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATHC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
