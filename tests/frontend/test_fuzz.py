"""Damaged programs give diagnostics, never a traceback, and never take long.

PATHC_FUZZ sets the number of mutants.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pathc.frontend.api import check
from pathc.frontend.format import format_source
from pathc.support.codes import catalogue
from pathc.support.diagnostics import PathcError, render_all
from pathc.support.source import Source

MUTANTS = int(os.environ.get("PATHC_FUZZ", "1500"))
FOLDER = Path(__file__).parent
SEEDS = [p.read_text() for p in sorted(FOLDER.glob("*/*.path"))]
TOKENS = re.compile(r"\w+|->|\s+|[^\w\s]")
JUNK = [
    *"{}()[]@|:,=\n\r\t\0\"\\#%-+*/", "->", "--", "@@", "((", "4k", "1e999", "9" * 30, "9" * 5000, "0", "-1", "1e-400",
    "3x3", "x" * 300, "0x3x4", "2Ti", "é", "\u2028", "\ud800", "\U0001f600", "\ufeff", "Ⅷ", "٣", "layer", "1/0",
    "paths p : x -> x { count = 1 }", 'use "a.path"', "let P = P", "mirror = main", "weights = tied", "conv(3x3)",
    "fix(8, frac = 9)", "recur = full", "min()",
]  # fmt: skip

Mutation = Callable[[list[str], random.Random], None]


def _delete(tokens: list[str], chance: random.Random) -> None:
    del tokens[chance.randrange(len(tokens))]


def _insert(tokens: list[str], chance: random.Random) -> None:
    tokens.insert(chance.randrange(len(tokens) + 1), chance.choice(JUNK))


def _replace(tokens: list[str], chance: random.Random) -> None:
    tokens[chance.randrange(len(tokens))] = chance.choice(JUNK)


def _swap(tokens: list[str], chance: random.Random) -> None:
    a, b = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    tokens[a], tokens[b] = tokens[b], tokens[a]


def _copy(tokens: list[str], chance: random.Random) -> None:
    start = chance.randrange(len(tokens))
    part = tokens[start : start + chance.randrange(1, 12)]
    where = chance.randrange(len(tokens) + 1)
    tokens[where:where] = part * chance.choice([1, 1, 2, 40])


def _cut(tokens: list[str], chance: random.Random) -> None:
    del tokens[chance.randrange(1, len(tokens) + 1) :]


def _byte(tokens: list[str], chance: random.Random) -> None:
    tokens.insert(
        chance.randrange(len(tokens) + 1), chr(chance.choice([chance.randrange(256), chance.randrange(0xD7FF)]))
    )


MUTATIONS: tuple[Mutation, ...] = (_delete, _insert, _replace, _swap, _copy, _cut, _byte)


def mutant(number: int) -> str:
    """The damaged program of that number."""
    chance = random.Random(number)
    tokens = TOKENS.findall(chance.choice(SEEDS))
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        if tokens:
            chance.choice(MUTATIONS)(tokens, chance)
    return "".join(tokens)


def survives(text: str) -> None:
    """Checking and formatting give a graph or diagnostics with known codes."""
    source = Source(str(FOLDER / "programs" / "mutant.path"), text)
    graph, diagnostics = check(source)
    errors = [d for d in diagnostics if d.code.startswith("E")]
    assert (graph is None) == bool(errors)
    assert {d.code for d in diagnostics} <= set(CODES)
    assert all(d.message for d in diagnostics)
    assert render_all(diagnostics).count("\n") < 20 * len(diagnostics) + 1
    try:
        once = format_source(source)
    except PathcError:
        return
    assert format_source(Source("again.path", once)) == once


CODES = catalogue()


@pytest.mark.parametrize("part", range(4))
def test_mutants_give_diagnostics_only(part: int) -> None:
    for number in range(part, MUTANTS, 4):
        start = time.process_time()
        try:
            survives(mutant(number))
        except Exception as reason:
            raise AssertionError(f"mutant {number}: {mutant(number)!r}") from reason
        assert time.process_time() - start < 10, f"mutant {number} takes too long"


HEAD = "input x[64]\noutput y[64]\n"


@pytest.mark.parametrize(
    "text",
    [
        f"let P = {'(' * 10**5}1{')' * 10**5}",
        f"let P = {'(' * 10**5}",
        f"let P = {'-' * 10**4}1",
        f"let P = {'-' * 10**5}1",
        f"let P = {'1 + ' * 10**4}1",
        f"let P = {'min(' * 60}1{')' * 60}",
        f"let P = {'a(' * 63}",
        f"let P = {10**400}",
        f"let P = 1{'0' * 10**6}",
        f"let P = 1e{'9' * 30}",
        "let P = 1e308 * 1e308 - 1e308 * 1e308",
        "let P = 18446744073709551615 * 18446744073709551615",
        "let P = pow2_ceil(18446744073709551615)",
        "let P = pow2_ceil(0 - 5)",
        f"layer {'x' * 10**6}[3]",
        f"{'x' * 10**6}",
        f"# {'x' * 10**6}",
        f"paths p : {'x -> ' * 10**5}y {{ count = 1 }}",
        f"paths p : {'x -> ' * 10**4}y {{ count = 1 }}",
        f"paths p : {' -> '.join(f'h{i}@1' for i in range(5000))} -> y {{ count = 1 }}",
        f"paths p : x -> y {{ {'count = 1, ' * 10**4}}}",
        f"layer h[3] : {'relu | ' * 10**4}relu",
        f'use "{"../" * 10**4}a.path"',
        'use "\\0"',
        'use "/"',
        f'let P = "{"x" * 10**6}',
        "\n" * 10**6,
        "{" * 10**6,
        "\t" * 10**6 + "x",
        "#\n" * 10**4 + "layer h[3]",
        "layer h[3]\n" * 3000,
        "".join(f"layer h{i}[3]\n" for i in range(2000)),
        "x" * (2**22 + 1),
    ],
    ids=lambda text: text[:14].replace("\n", "/").replace("\t", " ").strip() or "blank",
)
def test_monsters_give_diagnostics_in_bounded_time(text: str) -> None:
    start = time.process_time()
    survives(text)
    survives(HEAD + text)
    assert time.process_time() - start < 15


def test_chain_of_many_layers_is_fine() -> None:
    layers = "".join(f"layer h{i}[8] : relu\n" for i in range(500))
    chain = " -> ".join(f"h{i}" for i in range(500))
    text = f"{HEAD}{layers}paths p : x -> {chain} -> y {{ count = 8 }}"
    graph, diagnostics = check(Source("m.path", text))
    assert diagnostics == []
    assert graph is not None
