"""The documentation site builds without a warning, links checked, and holds a page for every pass and target."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pathc.backends import backend_names
from pathc.ir.passes import NAMES

ROOT = Path(__file__).parent.parent


def test_the_site_builds_and_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material, `pip install 'pathc[docs]'`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*.html")}
    assert {f"passes/{name}.html" for name in NAMES} <= pages
    assert {f"targets/{name}.html" for name in backend_names()} <= pages
    assert {"index.html", "gallery.html", "words.html", "codes.html", "tutorial.html", "extending.html"} <= pages
    assert len(list((tmp_path / "site" / "gallery").glob("*.svg"))) >= 5
