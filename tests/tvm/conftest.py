"""What tests of TVM's targets share."""

from __future__ import annotations

import pytest


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A folder of the test's own for the object cache and the file of tuned tiles beside it."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("PATHC_CACHE", str(folder))
    return folder
