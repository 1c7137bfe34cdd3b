"""`fmt`: idempotent, keeps the tree, the comments and their order; laid out as in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from programs_strategy import programs

from pathc.frontend.format import format_source
from pathc.frontend.parser import parse
from pathc.support.source import Source

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.path"))


def fmt(text: str) -> str:
    return format_source(Source("m.path", text))


@given(programs())
@settings(max_examples=300, deadline=None)
def test_format_is_idempotent_and_keeps_tree_and_comments(text: str) -> None:
    once = fmt(text)
    before, after = parse(Source("a", text)), parse(Source("b", once))
    assert fmt(once) == once
    assert after == before
    assert [c.text for c in after.comments] == [c.text for c in before.comments]
    assert [c.own_line for c in after.comments] == [c.own_line for c in before.comments]
    assert not any(line != line.rstrip() for line in once.split("\n"))
    assert once.endswith("\n") or once == ""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_keep_their_meaning(program: Path) -> None:
    text = program.read_text()
    assert fmt(fmt(text)) == fmt(text)
    assert parse(Source("a", fmt(text))) == parse(Source("a", text))


def test_layout() -> None:
    messy = (
        "pathc 1 # version\n"
        "let P=4096# override\n"
        "model   m\n\n\n\n"
        "input pixels[ 784 ]:u8\n"
        "layer h1[300]:relu|bias {pad=pow2}\n"
        "# the answer\n"
        "output digits[ (P+3)*2-(1-(2-3)) ] : softmax\n\n"
        "paths main:pixels@0->h1@1\n  ->digits@( 2 ) {\n count = P , seed=0\n"
        "  scramble=none # plain\n  # balanced\n  sign=hadamard}\n"
        "skip s:h1->digits{scale=.5}\n".replace(".5", "0.5")
        + "target c:tvm-llvm{}\n"
    )
    widest = len("digits[(P + 3) * 2 - (1 - (2 - 3))]")
    assert fmt(messy) == (
        "pathc 1       # version\n"
        "let P = 4096  # override\n"
        "model m\n"
        "\n"
        f"input  {'pixels[784]'.ljust(widest)} : u8\n"
        f"layer  {'h1[300]'.ljust(widest)} : relu | bias {{ pad = pow2 }}\n"
        "# the answer\n"
        "output digits[(P + 3) * 2 - (1 - (2 - 3))] : softmax\n"
        "\n"
        "paths main:pixels@0->h1@1\n  ->digits@( 2 ) {\n count = P , seed=0\n"
        "  scramble=none # plain\n  # balanced\n  sign=hadamard}\n"
        "skip  s : h1 -> digits { scale = 0.5 }\n"
        "target c : tvm-llvm {}\n"
    )


def test_long_chains_and_blocks_are_broken() -> None:
    chain = " -> ".join(f"station_{i}" for i in range(10))
    assert fmt(f"paths p : {chain} {{ count = 3 }}") == (
        "paths p : station_0 -> station_1 -> station_2 -> station_3 -> station_4 -> station_5 -> station_6\n"
        "        -> station_7 -> station_8 -> station_9 { count = 3 }\n"
    )
    block = ", ".join(f"option_{i} = {i}" for i in range(10))
    lines = fmt(f"target t : llvm {{ {block} }}").splitlines()
    assert lines[:2] == ["target t : llvm {", "  option_0 = 0"]
    assert lines[-1] == "}"


def test_nothing_stays_nothing() -> None:
    assert fmt("") == ""
    assert fmt("\n\n  \n") == ""
    assert fmt("\n# only\n\n\n# comments") == "# only\n\n# comments\n"
