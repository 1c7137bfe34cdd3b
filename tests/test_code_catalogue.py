"""Codes raised and codes declared are the same, and every code says what it means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pathc
from pathc.support.codes import AREAS, catalogue
from pathc.support.codes.base import Code

ROOT = Path(pathc.__file__).parent
CATALOGUE = catalogue()
_NAME = re.compile(r'"([EW]\d{4})"')


def used() -> dict[str, set[str]]:
    """Codes that stand as texts in the source, outside the catalogue, with the files they stand in."""
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        if path.parent.name != "codes":
            for name in _NAME.findall(path.read_text()):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_codes_used_are_declared() -> None:
    assert {name: files for name, files in used().items() if name not in CATALOGUE} == {}


def test_codes_declared_are_used() -> None:
    assert set(CATALOGUE) - set(used()) == set()


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.name)
def test_codes_say_what_they_mean(code: Code) -> None:
    assert re.fullmatch(r"[EW](0[1-9]|1\d)\d\d", code.name)
    assert code.title
    assert not code.title.endswith(".")
    assert code.explanation.endswith(".")


def test_areas_do_not_overlap() -> None:
    assert len(AREAS) == len(set(AREAS))
