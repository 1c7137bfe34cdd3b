"""Imports go down only: cli and bench, then driver, then frontend and backends apart, then ir, then support."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pathc"
LEVELS = {
    "support": 0,
    "ir": 1,
    "frontend": 2,
    "backends": 2,
    "exchange": 2,
    "viz": 2,
    "targets": 3,
    "driver": 4,
    "stages": 5,
    "gallery": 5,
    "plots": 5,
    "lsp": 6,
    "notebook": 6,
    "handbook": 5,
    "agreement": 5,
    "api": 5,
    "bench": 6,
    "torch": 5,
    "train": 5,
    "cli": 7,
    "__main__": 8,
}
"""A module imports its own room and those of lower numbers."""
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, anywhere in it."""
    package = ["pathc", *path.relative_to(ROOT).parent.parts]
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("pathc.")}
    assert package[0] == "pathc"
    return rooms - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for other in imported(path):
        assert other in LEVELS, f"{path}: `{other}` has no level"
        assert other == here or LEVELS[other] < LEVELS[here], f"{here} must not import {other}"


def test_every_room_has_a_level() -> None:
    assert {room(path) for path in FILES} <= {*LEVELS, "__init__"}


def test_no_file_is_long() -> None:
    assert [str(p) for p in FILES if len(p.read_text().splitlines()) > 420] == []


LIGHT = "import sys, pathc; heavy = {'lark', 'llvmlite', 'rich', 'scipy', 'numpy', 'networkx', 'tvm', 'torch'}"


@pytest.mark.parametrize("then", ["", "; import pathc.cli.application", "; import pathc.frontend, pathc.backends"])
def test_import_is_light(then: str) -> None:
    code = f"{LIGHT}{then}; print(sorted(heavy & set(sys.modules)))"
    allowed = "['numpy']" if "backends" in then else "[]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", allowed)
