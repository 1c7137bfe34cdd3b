"""Syntax files: made from the grammar, and true to it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest

from pathc.cli import main
from pathc.frontend import ast
from pathc.lsp.document import KEYWORD_DOCS
from pathc.lsp.syntax import extension, terminals, text_mate, vsix


@pytest.mark.parametrize("name", sorted(extension()))
def test_files_are_those_of_the_grammar(name: str) -> None:
    made = extension()[name]
    cure = "python -c \"import pathlib; from pathc.lsp.syntax import write; write(pathlib.Path('editors'))\""
    assert (Path("editors") / name).read_text(encoding="utf-8") == made, cure


def test_terminals_are_found() -> None:
    found = terminals()
    assert found["ROLE"] == "input|layer|output"
    assert re.fullmatch(found["NAME"], "h_1")
    assert re.fullmatch(found["NUMBER"], "4Ki")


def test_the_grammar_colours_every_example() -> None:
    rules = json.loads(text_mate())["patterns"]
    for file in sorted(Path("examples").glob("*.path")):
        for line in file.read_text().splitlines():
            place = 0
            while place < len(line):
                found = [m for rule in rules if (m := re.compile(rule["match"]).match(line, place))]
                assert found or line[place] in " \t[](){},", f"{file}: {line[place:]}"
                place = (
                    max((m.end() for m in found), default=place + 1) if found and found[0].end() > place else place + 1
                )


def test_every_keyword_is_explained() -> None:
    assert set(KEYWORD_DOCS) == set(ast.KEYWORDS)


def test_the_extension_packs(tmp_path: Path) -> None:
    file = tmp_path / "path.vsix"
    assert main(["lsp", "--vsix", str(file)]) == 0
    assert file.read_bytes() == vsix()
    archive = zipfile.ZipFile(io.BytesIO(vsix()))
    assert archive.testzip() is None
    package = json.loads(archive.read("extension/package.json"))
    for grammar in package["contributes"]["grammars"]:
        json.loads(archive.read("extension/" + grammar["path"].removeprefix("./")))
    assert {"extension.vsixmanifest", "[Content_Types].xml"} <= set(archive.namelist())
