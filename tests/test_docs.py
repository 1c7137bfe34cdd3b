"""Every block in the documentation does what it says.

```path          a whole model: passes `check`
```path NOTE     a fragment, not tried
```python        runs; blocks of one page share their names
```console       commands behind `$ pathc` exit with 0, and what is shown below them appears in their output in that
                 order; `...` stands for anything
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import pathc
from pathc.cli import main
from pathc.support.diagnostics import Severity

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NEEDED = {"torch.md": "torch"}
"""Packages without which a page cannot be tried."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = re.finditer(r"^```(\w+[^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, text[: m.start()].count("\n") + 1, m[1].strip(), m[2]) for m in found]


MODELS = [block for page in PAGES for block in blocks(page) if block.kind == "path"]


@pytest.mark.parametrize("block", MODELS, ids=str)
def test_models_are_correct(block: Block) -> None:
    found = pathc.check(pathc.Source("doc.path", block.text))
    assert [str(d) for d in found if d.severity is Severity.ERROR] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_and_commands_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if page.name in NEEDED:
        pytest.importorskip(NEEDED[page.name], reason=f"{page.name} needs the package {NEEDED[page.name]}")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page):
        if block.kind == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), vars(module))
        elif block.kind == "console":
            for command, shown in commands(block.text):
                assert main(shlex.split(command)[1:]) == 0, f"{block}: {command}\n{capsys.readouterr().err}"
                assert_shown(shown, capsys.readouterr().out, f"{block}: {command}")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Commands behind `$ ` that call pathc, and the lines shown below each."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return [(command, shown) for command, shown in found if command.startswith("pathc ")]


def assert_shown(shown: list[str], output: str, where: str) -> None:
    lines = iter(output.splitlines())
    for line in shown:
        if line.strip() in ("", "..."):
            continue
        pattern = ".*".join(re.escape(part) for part in line.rstrip().split("..."))
        assert any(re.fullmatch(pattern, other.rstrip()) for other in lines), f"{where}: not in the output: {line}"


def test_pages_are_found() -> None:
    assert {"README.md", "cli.md", "architecture.md"} <= {page.name for page in PAGES}
    assert any(block.kind == "console" for block in blocks(ROOT / "docs" / "cli.md"))


def test_a_line_that_is_not_in_the_output_is_noticed() -> None:
    with pytest.raises(AssertionError, match="not in the output: b"):
        assert_shown(["b", "a"], "a\nc\n", "here")
    assert_shown(["a...c"], "a b c\n", "here")


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert broken == []
