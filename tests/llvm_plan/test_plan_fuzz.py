"""Mutated plans give diagnostics or compute the net, nothing else. PATHC_FUZZ sets how many."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest
from net_support import check, drawn, inputs
from plan_support import NETS, WIDE, changed, plans_of, source_of

from pathc.backends.base import Request
from pathc.backends.llvm import backend
from pathc.backends.llvm.forms import form_names, tile_options
from pathc.backends.llvm.netplan import Post, Run, place
from pathc.backends.llvm.plantext import parse_plans, print_plans
from pathc.backends.llvm.verify import violations
from pathc.ir.types import Word
from pathc.support.codes import catalogue
from pathc.support.diagnostics import PathcError, render_all
from pathc.support.source import Source

COUNT = int(os.environ.get("PATHC_FUZZ", "500"))
RUN = max(8, COUNT // 20)
PLANS = {name: plans_of(graph) for name, graph in NETS.items()}
TEXTS = {name: source_of(*plans).text for name, plans in PLANS.items()}
PIECES = (
    *"[]{}()=,:|@.%$->#\"\n\t \0é", "->", "nan", "-1", "1e999", "16", "64", "4", "0", "9" * 30, "%x", "%a.1", "%s1",
    "$main.1", "xor(1, 2)", "order", "from add", "from zero", "from bias", "| relu", "then", "tile(sources = 4)",
    "load", "run", "move", "apply", "save", "gather", "column-ell", "dense", "bf16", "weights", "}\n",
)  # fmt: skip


def mutate(text, rng):
    for _ in range(rng.choice((1, 1, 1, 2, 4, 12))):
        at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        lines = text.split("\n")
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(9):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randrange(1, 12) :]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[at + 1 :]
            case 3:
                text = text[: max(at, 20)] if rng.randrange(4) == 0 else text
            case 4:
                text = text[:at] + text[min(at, other) : max(at, other)][:200] + text[at:]
            case 5:
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case 6:
                text = "\n".join([*lines[:i], *lines[i + 1 :]])
            case _:
                text = with_number(text, rng)
    return text


def with_number(text, rng):
    """Another number, or another word of the same text, in place of one."""
    words = text.split(" ")
    places = [k for k, word in enumerate(words) if word.strip(",()").isalnum()] or [0]
    k = rng.choice(places)
    words[k] = rng.choice((words[rng.choice(places)], str(rng.choice((0, 1, 8, 16, 48, 64, 128, 1 << 20)))))
    return " ".join(words)


def tried(text, graph):
    """The plans of a text that hold, or what is wrong with them."""
    try:
        plans = parse_plans(Source("fuzz.plan", text), graph)
        for plan in plans:
            faults = violations(plan.plan, graph, WIDE)
            if faults:
                return (), [fault.code for fault in faults]
        return tuple(plan.plan for plan in plans), []
    except PathcError as problem:
        render_all(problem.diagnostics)
        return (), [json.loads(d.as_json())["code"] for d in problem.diagnostics]


def test_mutated_plans_are_read_or_refused():
    rng, known = random.Random(11), catalogue()
    held = refused = 0
    seen = set[str]()
    for _ in range(COUNT):
        name = rng.choice(list(TEXTS))
        text = mutate(TEXTS[name], rng)
        plans, codes = tried(text, NETS[name])
        seen.update(codes)
        if plans:
            held += 1
            again = parse_plans(Source("again.plan", print_plans(plans)), NETS[name])
            assert tuple(p.plan for p in again) == plans, text
        else:
            refused += 1
            assert codes, text
            assert set(codes) <= set(known), text
    assert refused > COUNT // 4
    assert held > COUNT // 50
    assert {"E0640", "E0643", "E0644"} <= seen
    assert any(code >= "E0650" for code in seen)


def bent(plan, rng):
    """A plan with something else decided: a form, a tile, a place, an order, the sequence, the samples."""
    at = rng.randrange(len(plan.ops))
    runs = [k for k, op in enumerate(plan.ops) if isinstance(op, Run)]
    run = rng.choice(runs)
    match rng.randrange(8):
        case 0 | 1:
            return changed(plan, run, form=rng.choice(form_names()), tile=())
        case 2:
            tile = tuple((o.name, rng.choice((1, 2, 4, 8, 16))) for o in tile_options(plan.ops[run].step.form))
            return changed(plan, run, tile=tile)
        case 3:
            first, second = sorted((at, rng.choice((at - 1, at + 1, rng.randrange(len(plan.ops))))))
            ops = list(plan.ops)
            ops.insert(max(first, 0), ops.pop(min(second, len(ops) - 1)))
            return replace(plan, ops=tuple(ops))
        case 4:
            samples = rng.choice((1, 2, 3, 5, 8) if plan.family == "row" else (16, 48, 64, 80))
            sizes = {buffer.name: buffer.layout for buffer in plan.buffers}
            buffers, scratch = place(plan.ops, sizes, samples)
            return replace(plan, samples=samples, buffers=buffers, scratch=scratch)
        case 5:
            buffers = list(plan.buffers)
            k = rng.randrange(len(buffers))
            buffers[k] = replace(buffers[k], offset=rng.choice(plan.buffers).offset + rng.choice((0, 16, 4096)))
            return replace(plan, buffers=tuple(buffers), scratch=4 * plan.scratch)
        case 6:
            return changed(plan, run, weight_type="bf16")
        case _:
            call = plan.ops[run].step.activation
            if call is None or plan.ops[run].step.fused:
                return plan
            plan = changed(plan, run, activation=None)
            apart = Post(plan.ops[run].dst, rng.choice((plan.ops[run].step.junction.n_dst, 16)), call)
            return replace(plan, ops=(*plan.ops[: run + 1], apart, *plan.ops[run + 1 :]))


@pytest.mark.skipif(not WIDE.runs_here, reason="this host has no AVX-512")
def test_what_is_not_refused_computes_the_net():
    """Plans bent at random, none refused here: each runs on random samples and is held to the interpreter."""
    rng = random.Random(23)
    kinds: dict[str, int] = {}
    tries = 0
    while sum(kinds.values()) < RUN and tries < 60 * RUN:
        tries += 1
        name = rng.choice(list(NETS))
        graph = NETS[name]
        original = rng.choice(PLANS[name])
        plan = bent(original, rng) if rng.randrange(2) else bent(bent(original, rng), rng)
        if plan == original or violations(plan, graph, WIDE):
            continue
        narrow = any(run.step.weight_type == "bf16" for run in plan.runs)
        weights = drawn(graph, 3)
        executable = backend.BACKEND.compile(Request(graph, weights, {"cpu": Word("avx512")}))
        executable.__dict__.update(row_plan=plan, column_plan=plan)
        x = inputs(graph, rng.choice((1, 3, 40)), 4)
        check(graph, weights, x, executable(x), 2.0**-8 if narrow else 0.0)
        kinds[f"{plan.family} {name}"] = kinds.get(f"{plan.family} {name}", 0) + 1
    assert len(kinds) >= 6, kinds
