"""Every code of the language is declared, explained, and provoked by its own example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pathc.frontend.api import check
from pathc.support.codes import model, syntax
from pathc.support.codes.base import Code
from pathc.support.source import Source

CODES = (*syntax.CODES, *model.CODES)
WITHOUT_EXAMPLE = {"E0110", "E0111", "E0215", "E0217", "E0228"}


@pytest.mark.parametrize("code", [c for c in CODES if c.example], ids=lambda c: c.name)
def test_example_provokes_its_code_and_nothing_else(code: Code) -> None:
    _, diagnostics = check(Source("example.path", code.example))
    found = {d.code for d in diagnostics}
    others = {"E0219"} if code.name.startswith("E01") else set[str]()
    assert code.name in found
    assert found <= {code.name} | others


def test_codes_without_example_are_those_that_need_more_than_one_text() -> None:
    assert {c.name for c in CODES if not c.example} == WITHOUT_EXAMPLE


def test_codes_used_are_the_codes_declared() -> None:
    import pathc.frontend

    folder = Path(pathc.frontend.__file__).parent
    used = {m for path in folder.glob("*.py") for m in re.findall(r'"([EW]0[12]\d\d)"', path.read_text())}
    assert used == {c.name for c in CODES}


@pytest.mark.parametrize("code", CODES, ids=lambda c: c.name)
def test_explanation_is_a_text(code: Code) -> None:
    assert len(code.explanation) > 30
    assert code.explanation.endswith(".")
    assert not code.title.endswith(".")
