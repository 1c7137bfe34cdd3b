"""docs/language.md says what the catalogue says, and its programs are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pathc.frontend.api import check
from pathc.frontend.attributes import LINE_ATTRIBUTES, STATION_ATTRIBUTES
from pathc.frontend.format import format_source
from pathc.frontend.parser import parse
from pathc.ir.catalogue import BACKENDS, CATALOGUE, Entry, Option
from pathc.ir.types import show_value
from pathc.support.source import Source

TEXT = (Path(__file__).parents[2] / "docs" / "language.md").read_text()
BLOCKS = re.findall(r"^```path( fragment)?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def spelled(option: Option) -> str:
    """An option as the reference shows it."""
    if option.default is None:
        return option.name
    return f"{option.name} = {show_value(option.default)}"


def row(entry: Entry) -> str:
    """The line of an entry in the tables of the reference."""
    options = f"({', '.join(map(spelled, entry.options))})" if entry.options else ""
    return f"| `{entry.name}{options}` | {entry.doc} |"


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda e: f"{e.kind}-{e.name}")
def test_every_word_of_the_catalogue_has_its_row(entry: Entry) -> None:
    assert row(entry) in TEXT.splitlines()


@pytest.mark.parametrize("option", [o for e in CATALOGUE for o in e.options if o.choices], ids=lambda o: o.name)
def test_every_choice_is_named(option: Option) -> None:
    assert all(f"`{choice}`" in TEXT for choice in option.choices)


def test_attributes_and_backends_are_named() -> None:
    for rule in (*LINE_ATTRIBUTES, *STATION_ATTRIBUTES):
        assert f"| `{rule.name}` | {', '.join(rule.kinds)} | {rule.doc} |" in TEXT.splitlines()
    assert all(f"`{name}`" in TEXT for name in BACKENDS)


def test_complete_programs_are_right_and_fragments_parse() -> None:
    assert len(BLOCKS) > 5
    for fragment, text in BLOCKS:
        source = Source("docs.path", text)
        parse(source)
        if not fragment:
            assert check(source)[1] == [], text
            assert format_source(source) == text
