from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import SMALL, Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`pathc` in an empty folder; crash files would land there, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("PATHC_DEBUG", raising=False)
    return runner(capsys.readouterr)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.path"
    path.write_text(SMALL)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).random((3, 64), dtype=np.float32))
    return path
