"""What the language server knows about a text and the files it uses: fixes, and names across files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathc.driver import check
from pathc.lsp.document import Document
from pathc.support.source import Source

HEAD = "pathc 1\nmodel m\n\ninput  x[64]\nlayer  a[60] : relu\noutput y[16]\n\n"


def applied(text: str, code: str) -> list[str]:
    """The text after each of the fixes of a code."""
    document = Document("m.path", text)
    found = [fix for fix in document.fixes() if fix.diagnostic.code == code]
    return [text[: fix.span.start] + fix.text + text[fix.span.end :] for fix in found]


@pytest.mark.parametrize(
    ("text", "code", "choices"),
    [
        (HEAD + "paths p : x -> a -> y { count = 64 }\n", "W0305", 1),
        (HEAD + "paths p : x@0 -> a@1 -> y@2 { count = 100 }\n", "W0303", 2),
        (HEAD + "paths p : x -> a -> y { count = 64, sequence = sobol(skip = 3) }\n", "W0304", 2),
        (HEAD.replace("60", "64") + "paths p : x@0 -> a@0 -> y@2 { count = 256 }\n", "W0302", 1),
        (HEAD + "paths p : x -> a { count = 64 }\ndense q : a@1 -> y\n", "E0227", 1),
        (HEAD.replace("pathc 1", "pathc 7") + "dense q : x -> a -> y\n", "E0233", 1),
        (HEAD + "dense q : x -> a -> z\n", "E0201", 0),
        (HEAD + "dense q : x -> a -> y\npaths p : x -> A { count = 2 }\n", "E0201", 0),
        (HEAD.replace("relu", "relo") + "dense q : x -> a -> y\n", "E0213", 1),
    ],
)
def test_a_fix_cures(text: str, code: str, choices: int) -> None:
    assert code in {d.code for d in check(Source("m.path", text))}
    made = applied(text, code)
    assert len(made) == choices
    for cured in made:
        assert code not in {d.code for d in check(Source("m.path", cured))}, cured


def test_names_of_used_files(tmp_path: Path) -> None:
    (tmp_path / "deep.path").write_text("pathc 1\nlet D = 2\n")
    (tmp_path / "sizes.path").write_text('pathc 1\nuse "deep.path"\nlet N = 64 * D\n')
    uses = "".join(f'use "{name}.path"\n' for name in ("sizes", "none", "m"))
    text = f"pathc 1\n{uses}model m\ninput x[N]\noutput y[D]\ndense d : x -> y\n"
    document = Document(str(tmp_path / "m.path"), text)
    found = document.definition(text.index("[N]") + 1)
    assert found is not None
    assert (Path(found.source.name).name, found.text, found.place.line) == ("sizes.path", "N", 3)
    deep = document.definition(text.index("[D]") + 1)
    assert deep is not None
    assert Path(deep.source.name).name == "deep.path"
    file = document.definition(text.index("sizes"))
    assert file is not None
    assert (Path(file.source.name).name, file.start) == ("sizes.path", 0)
    assert document.definition(text.index("none")) is None
    hover = document.hover(text.index("[N]") + 1)
    assert hover is not None
    assert "let N = 64 * D" in hover[1]
    offered = {c.text for c in document.completions(text.index("[N]") + 1)}
    assert {"N", "D"} <= offered
