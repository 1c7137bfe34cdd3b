"""What tests of TVM's targets share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pathc.backends.tvm import facade


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A folder of the test's own for the object cache and the file of tuned tiles beside it."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("PATHC_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def fake(tmp_path_factory):
    """A folder with a libcuda.so.1 whose GPU is the processor."""
    folder = tmp_path_factory.mktemp("fake")
    includes = [f"-I{path}" for path in facade.ffi_includes()]
    command = ["g++", "-x", "c", "-shared", "-fPIC", "-w", *includes, str(Path(__file__).with_name("fake_libcuda.c"))]
    subprocess.run([*command, "-o", str(folder / "libcuda.so.1"), "-ldl"], check=True)
    return folder
