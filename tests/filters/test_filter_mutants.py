"""Nets with stages, numbers and lines exchanged at random: a diagnostic, or the same result from both targets.

PATHC_FILTER_MUTANTS sets how many are tried.
"""

from __future__ import annotations

import os
import random
import re

import numpy as np
from filter_nets import inputs_of
from test_filter_kernels import compiled

from pathc.backends.llvm.backend import BACKEND
from pathc.frontend.api import check
from pathc.ir.cost import cost
from pathc.ir.init import initial_weights
from pathc.ir.interp import agrees, error_bound, forward, supports, unit_roundoff
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import violations
from pathc.support.source import Source

TEXTS = (
    """pathc 1
input x[4, 6x6]
layer a[8] : conv(3x3, pad = same) | bias | batchnorm | relu | maxpool(2x2)
layer b[8] : conv(1x1) | channelshuffle(2) | avgpool(global)
layer h[8] : bias | tanh | ode(solver = rk4, step = 0.1, steps = 2)
output y[3] : bias | softmax
paths p : x -> a -> b { count = 32 }
dense q : b -> h -> y
skip s : b -> h
""",
    """pathc 1
input x[3, 9]
layer a[4] : conv(3, causal = true, dilation = 2) | leaky(0.1)
layer b[4] : conv(3, pad = 1, stride = 1) | sigmoid
layer c[8, 9] : concat | relu
output y[2] : conv(9) | bias
dense p : x -> a { scale = 2 }
paths q : a -> b { count = 8 }
skip s : a -> c
skip t : b -> c { scale = -1 }
dense r : c -> y
""",
)
STAGES = (
    "conv(3x3)", "conv(2x2, stride = 2)", "conv(1x1)", "conv(3, pad = 1)", "conv(2)",
    "conv(3x2, pad = same, stride = 2x1)", "conv(3x3, groups = 2, pad = same)", "maxpool(2x2)",
    "maxpool(3, stride = 1)", "avgpool(2)", "avgpool(global)", "batchnorm", "concat", "channelshuffle(2)",
    "ode(step = 0.5)", "ode(solver = rk2, steps = 2)", "kwinners(2)", "softmax", "relu", "bias", "identity", "abs",
    "hardtanh(0, 6)",
)  # fmt: skip
NUMBERS = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16)
ENDS = ("", " { pad = pow2 }", " { scale = -0.5 }", " { count = 20, sequence = random }")


def other_numbers(line: str, dice: random.Random) -> str:
    return re.sub(r"\b\d+\b", lambda m: str(dice.choice(NUMBERS)) if dice.random() < 0.4 else m[0], line)


def other_stages(line: str, dice: random.Random) -> str:
    if ":" not in line or re.match("paths|dense|skip", line):
        return line
    head, pipeline = line.split(":", 1)
    stages = [stage.strip() for stage in pipeline.split("{")[0].split("|")]
    if dice.random() < 0.5:
        stages[dice.randrange(len(stages))] = dice.choice(STAGES)
    else:
        stages.insert(dice.randrange(len(stages) + 1), dice.choice(STAGES))
    return f"{head}: {' | '.join(stages[dice.random() < 0.2 :] or stages)}"


def other_kind(line: str, dice: random.Random) -> str:
    kind = dice.choice(("paths", "dense", "skip"))
    if not re.match("paths|dense|skip", line):
        return line
    return re.sub(r"^\w+", kind, line.split("{")[0]) + ("{ count = 12 }" if kind == "paths" else "")


def other_end(line: str, dice: random.Random) -> str:
    return line.split("{")[0].rstrip() + dice.choice(ENDS)


def mutant(dice: random.Random) -> str:
    lines = dice.choice(TEXTS).splitlines()
    for _ in range(dice.randint(1, 4)):
        k = dice.randrange(1, len(lines))
        change = dice.choices((other_numbers, other_stages, other_kind, other_end), (4, 4, 1, 1))[0]
        lines[k] = change(lines[k], dice)
    return "\n".join(lines)


def test_mutants() -> None:
    dice, ran = random.Random(7), 0
    for _ in range(int(os.environ.get("PATHC_FILTER_MUTANTS", "500"))):
        text = mutant(dice)
        graph, _found = check(Source("mutant.path", text))
        if graph is None:
            continue
        assert violations(graph) == [], text
        assert parse_graph(Source("mutant.pir", print_graph(graph))) == graph, text
        assert cost(graph).macs >= 0, text
        if supports(graph) or BACKEND.refusals(graph):
            continue
        weights = initial_weights(graph)
        x = inputs_of(graph, 2).astype(np.float32)
        expected, bound = forward(graph, weights, x), error_bound(graph, weights, x, unit_roundoff("float32"))
        y = compiled(graph, weights)(x)
        assert y.shape == expected.shape, text
        assert agrees(y, expected, bound).all(), text
        ran += 1
    assert ran > 20
