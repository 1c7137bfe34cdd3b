"""What docs/cpu.md lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pathc
from pathc.backends.llvm.forms import form, form_names, tile_options
from pathc.backends.llvm.planrule import RULES
from pathc.backends.llvm.verify import MOST_COLUMNS, MOST_ROWS

TEXT = (Path(__file__).parents[2] / "docs" / "cpu.md").read_text(encoding="utf-8")
BACKEND = Path(pathc.__file__).parent / "backends" / "llvm"


def test_forms_and_their_files():
    listed = re.findall(r"^\| `([a-z-]+)` \| `([a-z/]+)\.py` \| .* \| (rows|columns); ", TEXT, re.MULTILINE)
    assert [name for name, _, _ in listed] == list(form_names())
    for name, file, family in listed:
        assert type(form(name)).__module__.endswith(file.replace("/", "."))
        assert form(name).family + "s" == family


def test_rules_in_order_with_bounds():
    rows = re.findall(r"^\| ([a-z-]+) \| (E\d{4}) \|", TEXT, re.MULTILINE)
    assert [name for name, _ in rows] == [rule.name for rule in RULES]
    assert f"1 to {MOST_ROWS} rows" in TEXT
    assert f"up to {MOST_COLUMNS} " in TEXT


def test_tiles_and_files_that_are_named():
    for name in form_names():
        for option in tile_options(name):
            assert f"`{option.name}`" in TEXT
    for file in re.findall(r"`([a-z]+/[a-z]+\.py)`", TEXT):
        assert (BACKEND / file).exists(), file
