"""Mutated `.pir` texts give a graph or diagnostics, nothing else. PATHC_FUZZ sets how many."""

from __future__ import annotations

import os
import random

from test_pir_text import SAMPLE

from pathc.ir.pipeline import load_graph
from pathc.ir.text import parse_graph, print_graph
from pathc.support.codes import catalogue
from pathc.support.diagnostics import PathcError, render_all
from pathc.support.source import Source

COUNT = int(os.environ.get("PATHC_FUZZ", "1500"))
GOOD = """\
pir 1
graph net {
  %x : f32[16] = input
  %h : f32[13 pad 16] = layer | bias | leaky(slope = 0.1)
  %y : f32[16] = output | kwinners(k = 4)
  $main = paths %x@0 -> %h@1 -> %y@2 { count = 64, generator = sobol(scramble = lms, seed = 9), sign = bit(m = 3) }
  $back = paths %x@2 -> %h@1 -> %y@0 { count = 64, generator = sobol, sign = hadamard, mirror = $main, tied = true }
  $res = skip %x -> %y { scale = 0.5 }
  target chip = engine { lanes = 16, clock = 200 MHz }
  blocks $main.2 { start = 0, length = 64, dst_shift = 2,\
 src_basis = [6, 10], dst_basis = [5, 11], src_reps = [1, 2], dst_reps = [2, 1] }
  mixing $main { least = [4, 16], most = [4, 16], pieces = 1, exact = false }
}
"""
PIECES = (
    *"[]{}()=,:|@.%$->#\"\\\n\t \0é", "->", "##", "inf", "nan", "-1", "1e999", "0x", "3x3", "9" * 70, "%x", "$main",
    "none", "true", "loc", "at", "with", "pad", "fix(", "paths", "dense", "mirror", "blocks", "target", "relu", "\r\n",
)  # fmt: skip


def mutate(text, rng):
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randrange(1, 12) :]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[at + 1 :]
            case 3:
                text = text[: max(at, 20)]
            case 4:
                text = text[:at] + text[min(at, other) : max(at, other)][:200] + text[at:]
            case 5:
                lines = text.split("\n")
                i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case _:
                text = text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) + text[at + 1 :]
    return text


def load(text):
    """The graph of a text, or what is wrong with it."""
    try:
        return load_graph(Source("fuzz.pir", text)), ()
    except PathcError as problem:
        return None, problem.diagnostics


def test_mutated_texts():
    rng, known = random.Random(7), catalogue()
    read = refused = 0
    for _ in range(COUNT):
        text = mutate(rng.choice((SAMPLE, GOOD)), rng)
        graph, diagnostics = load(text)
        if graph is None:
            refused += 1
            assert diagnostics, text
            assert all(d.code in known and d.severity == "error" and d.as_json() for d in diagnostics), text
            render_all(diagnostics)
        else:
            read += 1
            assert parse_graph(Source("again.pir", print_graph(graph))) == graph, text
    assert refused > COUNT // 4
    assert read > COUNT // 100
