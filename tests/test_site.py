"""The documentation site builds without a warning, links checked, and holds a page for every pass and target."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pathc.backends import backend_names
from pathc.cli import main
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


def test_the_commands_of_the_gallery_draw_its_pictures(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material, `pip install 'pathc[docs]'`")
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    made: dict[str, str] = pages.gallery()
    commands = re.findall(r"^\$ pathc (.*)$", made.pop("gallery.md"), re.MULTILINE)
    assert len(commands) == len(made) >= 5
    for command, (name, picture) in zip(commands, made.items(), strict=True):
        words = shlex.split(command)
        words[-1] = str(tmp_path / words[-1])
        assert main(words) == 0
        assert words[-1].endswith(name.removeprefix("gallery/"))
        assert Path(words[-1]).read_text() == picture
