"""Every rule for plans refuses what it is for; what no rule refuses computes the net."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from net_support import check, drawn, graph_of, inputs
from plan_support import NETS, RELU, WIDE, branched, changed, plans_of, source_of

from pathc.backends.base import Request
from pathc.backends.llvm import backend, verify
from pathc.backends.llvm import executable as module
from pathc.backends.llvm.forms import Choices
from pathc.backends.llvm.lower import plan_net
from pathc.backends.llvm.machine import host, machine
from pathc.backends.llvm.netplan import Load, Move, Post, Run, Save, touched
from pathc.backends.llvm.plan import Layout
from pathc.backends.llvm.planrule import RULES
from pathc.backends.llvm.plantext import parse_plans
from pathc.backends.llvm.verify import verify_plan, violations
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import InternalError, PathcError
from pathc.support.source import Source

GRAPH = branched()
ROW, COLUMN = plans_of(GRAPH)
FUSED = plans_of(NETS["fused"])[1]
UNITS = plans_of(NETS["blocks"], orders=("units", "units"))[1]
TURNED = plans_of(GRAPH, orders=("units", "units"))[1]


def at(plan, kind, number=0, where=lambda op: True):
    """The number of an operation of a kind."""
    return [k for k, op in enumerate(plan.ops) if isinstance(op, kind) and where(op)][number]


def without(plan, *numbers):
    return replace(plan, ops=tuple(op for k, op in enumerate(plan.ops) if k not in numbers))


def moved(plan, number, to):
    ops = list(plan.ops)
    ops.insert(to, ops.pop(number))
    return replace(plan, ops=tuple(ops))


def buffered(plan, called, **fields):
    return replace(plan, buffers=tuple(replace(b, **fields) if b.name == called else b for b in plan.buffers))


def ordered(plan, name, columns):
    return buffered(plan, name, layout=replace(plan.buffer(name).layout, columns=columns))


def into(station):
    return lambda op: op.step.last.dst == station


X, MAIN1 = at(ROW, Load), at(ROW, Run)
LAST = at(ROW, Run, 0, into("v"))
INTO_B = [k for k, op in enumerate(ROW.ops) if isinstance(op, Run) and op.dst.startswith("b")]
ORDERED = next(b for b in ROW.buffers if b.layout.columns)
COLUMNS = ORDERED.layout.columns
UNTURNED = tuple(1 << k for k in range(8))
WRONG = [
    ("plan-suits-the-machine", "E0650", replace(ROW, width=8)),
    ("plan-suits-the-machine", "E0650", replace(ROW, samples=0)),
    ("plan-suits-the-machine", "E0650", replace(ROW, samples=9)),
    ("plan-suits-the-machine", "E0650", replace(COLUMN, samples=20)),
    ("plan-suits-the-machine", "E0650", replace(COLUMN, samples=512)),
    ("numbers-are-the-nets", "E0651", replace(ROW, inputs=275)),
    ("numbers-are-the-nets", "E0651", replace(ROW, outputs=287)),
    ("numbers-are-the-nets", "E0651", replace(ROW, work=0)),
    ("numbers-are-the-nets", "E0651", replace(ROW, cycles=float("nan"))),
    ("buffers-exist", "E0652", replace(ROW, buffers=ROW.buffers[1:])),
    ("buffers-exist", "E0652", replace(ROW, buffers=(*ROW.buffers, ROW.buffers[0]))),
    ("buffers-exist", "E0652", buffered(ROW, "x", name="w")),
    ("layouts-are-bijections", "E0653", buffered(ROW, "z", layout=Layout(20))),
    ("layouts-are-bijections", "E0653", buffered(ROW, "z", layout=Layout(16))),
    ("layouts-are-bijections", "E0653", buffered(ROW, "z", layout=Layout(32, (1, 2, 4, 8, 16)))),
    ("layouts-are-bijections", "E0653", buffered(COLUMN, "x", layout=Layout(256, UNTURNED))),
    ("layouts-are-bijections", "E0653", ordered(ROW, ORDERED.name, (*COLUMNS[:-1], COLUMNS[0]))),
    ("layouts-are-bijections", "E0653", ordered(ROW, ORDERED.name, (*COLUMNS[:-1], 512))),
    ("layouts-are-bijections", "E0653", ordered(ROW, ORDERED.name, COLUMNS[:-1])),
    ("buffers-lie-in-scratch", "E0652", buffered(ROW, "y", offset=8)),
    ("buffers-lie-in-scratch", "E0652", buffered(ROW, "y", offset=-16)),
    ("buffers-lie-in-scratch", "E0652", buffered(ROW, "y", offset=ROW.scratch)),
    ("buffers-lie-in-scratch", "E0652", replace(ROW, scratch=ROW.scratch - 1)),
    ("buffers-lie-in-scratch", "E0652", replace(ROW, scratch=1 << 40)),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, X, dst="y")),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, X, first=1)),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, X, real=257)),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, X, activation=Call("softmax"))),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, MAIN1, src="z")),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, LAST, dst="y")),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, MAIN1, dst_layout=Layout(256, UNTURNED))),
    ("operations-agree-with-the-graph", "E0654",
     changed(ROW, MAIN1, junction=replace(ROW.ops[MAIN1].step.junction, n_dst=32))),
    ("operations-agree-with-the-graph", "E0654",
     changed(ROW, MAIN1, junction=replace(ROW.ops[MAIN1].step.junction, count=1 << 20))),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, at(ROW, Post), units=257)),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, at(ROW, Save), first=3)),
    ("operations-agree-with-the-graph", "E0654", changed(ROW, at(ROW, Save, 1), real=32)),
    ("forms-fit", "E0611", changed(ROW, MAIN1, form="nothing")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, form="column-blocks")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, form="dense")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, form="skip")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, family="column")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, weight_type="f16")),
    ("forms-fit", "E0611", changed(ROW, MAIN1, tile=(("sources", 4),))),
    ("forms-fit", "E0611", changed(COLUMN, at(COLUMN, Run), tile=(("destinations", 3),))),
    ("forms-fit", "E0611", changed(COLUMN, at(COLUMN, Run), tile=(("destinations", 0),))),
    ("forms-fit", "E0611", changed(COLUMN, at(COLUMN, Run), tile=(("sources", 1 << 20),))),
    ("forms-fit", "E0611", changed(COLUMN, at(COLUMN, Run), tile=(("sources", 4), ("sources", 8)))),
    ("forms-fit", "E0611", changed(COLUMN, at(COLUMN, Run), form="column-fused")),
    ("values-are-there-when-they-are-read", "E0655", without(ROW, X)),
    ("values-are-there-when-they-are-read", "E0655", moved(ROW, X, len(ROW.ops))),
    ("values-are-there-when-they-are-read", "E0655", without(ROW, at(ROW, Move))),
    ("values-are-there-when-they-are-read", "E0655", buffered(ROW, "z", offset=ROW.buffer("x").offset)),
    ("values-are-there-when-they-are-read", "E0655", buffered(COLUMN, "z", offset=COLUMN.buffer("x").offset)),
    ("every-junction-counts-once", "E0656",
     without(COLUMN, *(k for k, op in enumerate(COLUMN.ops) if "v" in touched(op)))),
    ("every-junction-counts-once", "E0656", changed(ROW, LAST, init="bias")),
    ("every-junction-counts-once", "E0656", changed(ROW, MAIN1, init="zero")),
    ("every-junction-counts-once", "E0656", changed(COLUMN, at(COLUMN, Run, 1, into("b")), init="zero")),
    ("every-junction-counts-once", "E0656", replace(ROW, ops=(*ROW.ops[:LAST], ROW.ops[LAST], *ROW.ops[LAST:]))),
    ("activations-come-once-and-last", "E0657", changed(ROW, X, activation=None)),
    ("activations-come-once-and-last", "E0657", changed(ROW, X, activation=Call("abs"))),
    ("activations-come-once-and-last", "E0657", changed(ROW, INTO_B[0], activation=RELU)),
    ("activations-come-once-and-last", "E0657", changed(ROW, INTO_B[-1], activation=None)),
    ("activations-come-once-and-last", "E0657", changed(ROW, MAIN1, activation=Call("leaky", (("slope", 0.5),)))),
    ("activations-come-once-and-last", "E0657", without(ROW, at(ROW, Post, 1))),
    ("activations-come-once-and-last", "E0657",
     replace(ROW, ops=(*ROW.ops[: at(ROW, Post)], *[ROW.ops[at(ROW, Post)]] * 2, *ROW.ops[at(ROW, Post) + 1 :]))),
    ("outputs-are-saved", "E0658", without(ROW, at(ROW, Save))),
    ("outputs-are-saved", "E0658", replace(ROW, ops=(*ROW.ops, ROW.ops[at(ROW, Save)]))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "plan"), WRONG)
def test_rules_refuse(name, code, plan):
    rule = next(rule for rule in RULES if rule.name == name)
    found = violations(plan, GRAPH, WIDE)
    assert {fault.code for fault in found} == {code}, found
    assert found == list(rule.check(verify.Checked(plan, GRAPH, WIDE)))
    with pytest.raises(InternalError, match="E0659"):
        verify_plan(plan, GRAPH, WIDE)
    with pytest.raises(PathcError, match=code):
        verify_plan(plan, GRAPH, WIDE, {})


def test_every_rule_is_tried_and_documented():
    assert {name for name, _, _ in WRONG} == {rule.name for rule in RULES}
    assert all(rule.doc.endswith(".") for rule in RULES)


def kept(plan, name, array):
    """The plan with a buffer in a user's array, and all operations agreeing."""
    layout = replace(plan.buffer(name).layout, array=array)
    for k, op in enumerate(plan.ops):
        if isinstance(op, Load | Save) and name in touched(op):
            plan = changed(plan, k, layout=layout)
        if isinstance(op, Run):
            ends = {"src_layout": op.src, "dst_layout": op.dst}
            plan = changed(plan, k, **{end: layout for end, own in ends.items() if own == name})
    return buffered(plan, name, layout=layout)


@pytest.mark.parametrize(
    ("graph", "code", "plan"),
    [
        (NETS["blocks"], "E0654", kept(UNITS, "s0", "y")),
        (NETS["blocks"], "E0654", kept(UNITS, "s3", "x")),
        (NETS["blocks"], "E0653", kept(UNITS, "s1", "x")),
        (NETS["general"], "E0653", kept(plans_of(NETS["general"])[0], "s0", "x")),
        (NETS["general"], "E0654", kept(plans_of(NETS["general"])[1], "s0", "x")),
        (NETS["general"], "E0654", changed(plans_of(NETS["general"])[0], 0, order="units")),
        (NETS["blocks"], "E0654", buffered(UNITS, "s0", layout=Layout(256))),
        (GRAPH, "E0654", changed(TURNED, at(TURNED, Load, 1), order="rows")),
        (GRAPH, "E0654", changed(TURNED, at(TURNED, Save, 1), order="rows")),
        (GRAPH, "E0654", kept(TURNED, "x", "x")),
        (GRAPH, "E0654", kept(TURNED, "y", "y")),
        (GRAPH, "E0654", kept(TURNED, "v", "y")),
        (GRAPH, "E0655", moved(TURNED, at(TURNED, Load), len(TURNED.ops) - 1)),
    ],
)
def test_what_stays_in_a_users_array_is_all_of_it_as_it_is(graph, code, plan):
    assert {fault.code for fault in violations(plan, graph, WIDE)} == {code}


@pytest.mark.parametrize(
    "fields",
    [{"activation": None}, {"init": "bias"}, {"init": "add"}, {"fused_init": "bias"}, {"fused_activation": None},
     {"fused": None}, {"tile": (("sources", 4),)}],
)  # fmt: skip
def test_fused_pairs_are_checked_like_two_kernels(fields):
    found = violations(changed(FUSED, at(FUSED, Run), **fields), NETS["fused"], WIDE)
    assert {fault.code for fault in found} <= {"E0611", "E0654", "E0656", "E0657"}
    assert found


def test_samples_that_come_in_an_order_are_whole():
    """A kernel that permutes samples on their way in reads as many units as the buffer has."""
    graph = graph_of((64, 64, 64), 512, RELU)
    plan = plan_net(graph, WIDE, "row", 4, Choices())
    order = Layout(64, (2, 1, 4, 8, 16, 32))
    padded = replace(graph, stations=(replace(graph.stations[0], declared=60), *graph.stations[1:]))
    bad = buffered(changed(replace(plan, inputs=60), 0, layout=order, real=60), "s0", layout=order)
    bad = changed(bad, 1, src_layout=order)
    assert {f.code for f in violations(bad, padded, WIDE)} == {"E0654"}


def test_a_users_mistake_has_a_place_and_no_code_is_made(monkeypatch):
    graph = NETS["general"]
    source = source_of(*plans_of(graph, host()))
    text = source.text.replace("from zero | relu", "from zero", 1)
    monkeypatch.setattr(module, "emit_net", lambda *_: pytest.fail("code was made of a plan that is wrong"))
    with pytest.raises(PathcError) as caught:
        request(graph, text)
    (found,) = caught.value.diagnostics
    assert (found.code, found.place.text) == ("E0657", "run")


def test_a_wrong_plan_of_our_own_is_noticed_before_code_is_made(monkeypatch):
    graph = NETS["general"]
    executable = request(graph, "")
    wrong = replace(executable.row_plan, inputs=51)
    monkeypatch.setattr(module, "emit_net", lambda *_: pytest.fail("code was made of a plan that is wrong"))
    executable.__dict__["row_plan"] = wrong
    with pytest.raises(InternalError, match="E0659"):
        executable.kernel(1)
    with pytest.raises(InternalError, match="E0659"):
        executable.program(1)


def request(graph, text, **options):
    plan = Source("net.plan", text) if text else None
    given = {name: Word(value) for name, value in options.items()}
    return backend.BACKEND.compile(Request(graph, drawn(graph, 1), given, plan=plan))


EDITS = [
    ("row", "windowed", "gather", "general"),
    ("row", "windowed", "dense", "general"),
    ("row", "interleaved", "interleaved", "branched"),
    ("row", "samples = 4", "samples = 3", "general"),
    ("row", "samples = 4", "samples = 8", "blocks"),
    ("row", "weights f32", "weights bf16", "blocks"),
    ("column", "destinations = 8, sources = 16", "destinations = 2, sources = 4", "blocks"),
    ("column", "destinations = 8, sources = 8", "destinations = 16, sources = 1", "blocks"),
    ("column", r", tile\(.*\)", "", "blocks"),
    ("column", r"column-blocks(.*), tile\(.*\)", r"column-ell\1", "branched"),
    ("column", r"column-unrolled (\$main.2.* f32), tile\(.*\)", r"column-dense \1", "general"),
    ("column", r"column-unrolled(.*), tile\(.*\)", r"column-ell\1, tile(vectors = 1, pieces = 3)", "general"),
    ("column", r"tile\(rows = 28\)", "tile(rows = 5)", "general"),
    ("column", "samples = 32", "samples = 48", "blocks"),
    ("column", "samples = 32", "samples = 16", "fused"),
]


@pytest.mark.skipif(not WIDE.runs_here, reason="this host has no AVX-512")
@pytest.mark.parametrize(("family", "old", "new", "name"), EDITS)
def test_edited_plans_compute_the_net(family, old, new, name):
    graph = NETS[name]
    (plan,) = (p for p in plans_of(graph) if p.family == family)
    text, places = re.subn(r" at \d+|scratch = \d+, ", "", source_of(plan).text)
    edited, edits = re.subn(old, new, text)
    assert places > 2
    assert edits
    kind = "bf16" if "bf16" in new else "f32"
    executable = request(graph, edited, cpu="avx512", weights=kind)
    given = executable.given[family].plan
    assert given.cycles > 0
    monkey = {"row_plan": given, "column_plan": given}
    executable.__dict__.update(monkey)
    for batch in (1, 3, 50):
        x = inputs(graph, batch, 2)
        check(graph, drawn(graph, 1), x, executable(x), 2.0**-8 if kind == "bf16" else 0.0)


def test_orders_of_units_are_free_where_lanes_run_through_blocks():
    """Random orders are refused or computed rightly; the exchange of whole vectors is never refused."""
    graph = NETS["blocks"]
    plan = plans_of(graph)[0]
    weights, x = drawn(graph, 1), inputs(graph, 2, 2)
    rng = np.random.default_rng(5)
    name = next(b.name for b in plan.buffers if b.layout.columns)
    columns = plan.buffer(name).layout.columns
    for number in range(12):
        inside = number % 2 == 1
        turn = [*range(4), *rng.permutation(4) + 4] if inside else rng.permutation(8).tolist()
        turned = tuple(sum((c >> k & 1) << int(turn[k]) for k in range(8)) for c in columns)
        text = source_of(ordered(plan, name, turned)).text
        if inside or not violations(ordered_steps(plan, name, turned), graph, WIDE):
            executable = request(graph, text, cpu="avx512")
            if WIDE.runs_here:
                check(graph, weights, x, executable(x))
        else:
            with pytest.raises(PathcError, match="E0611"):
                request(graph, text, cpu="avx512")


def ordered_steps(plan, name, columns):
    """The plan with another order of a buffer, which its kernels know of."""
    layout = replace(plan.buffer(name).layout, columns=columns)
    for k, op in enumerate(plan.ops):
        if isinstance(op, Run) and op.src == name:
            plan = changed(plan, k, src_layout=layout)
        if isinstance(op, Run) and op.dst == name:
            plan = changed(plan, k, dst_layout=layout)
    return ordered(plan, name, columns)


def test_bfloat16_in_a_plan_needs_a_target_that_has_it():
    text = source_of(*plans_of(NETS["general"])).text.replace("weights f32", "weights bf16", 1)
    with pytest.raises(PathcError, match="E0603") as caught:
        request(NETS["general"], text, cpu="avx512")
    assert caught.value.diagnostics[0].place.text == "run"


def test_plans_for_arrays_that_lie_otherwise_are_noted():
    by_rows, by_units = (source_of(plans_of(NETS["general"], orders=(a, a))[1]).text for a in ("rows", "units"))
    for text, same, other, cure in (
        (by_rows, "rows", "units", "compile for `llvm`"),
        (by_units, "units", "rows", "compile for `llvm{arrays=units}`"),
    ):
        assert request(NETS["general"], text, cpu="avx512", arrays=same).notes == ()
        (note,) = request(NETS["general"], text, cpu="avx512", arrays=other).notes
        assert (note.code, note.help) == ("W0648", cure)


def test_plans_of_other_processors_are_noted_and_of_other_widths_refused():
    text = source_of(*plans_of(NETS["general"])).text
    (note, other) = request(NETS["general"], text, cpu="skylake-avx512").notes
    assert (note.code, note.severity, note.place.text) == ("W0647", "note", "row")
    assert other.place.text == "column"
    assert request(NETS["general"], text, cpu="avx512").notes == ()
    with pytest.raises(PathcError, match="E0650"):
        request(NETS["general"], text, cpu="avx2")


def test_costs_are_estimated_anew_and_missing_families_planned():
    graph = NETS["general"]
    row, _ = plans_of(graph)
    text = source_of(row).text
    executable = request(graph, re.sub(r"cycles = [0-9.]+", "cycles = 5", text), cpu="avx512")
    assert executable.row_plan == row
    assert executable.column_plan.family == "column"
    assert [p.plan.family for p in parse_plans(Source("e.plan", executable.emit("plan")), graph)] == ["row", "column"]


def test_verifying_is_cheap():
    """A tenth of what planning takes, and more than enough for what it must never miss."""
    graph = graph_of((1024,) * 9, 4096, RELU)
    chosen = machine({"cpu": "avx512"})
    started = time.perf_counter()
    plan = plan_net(graph, chosen, "row", 4, Choices())
    planned = time.perf_counter()
    assert violations(plan, graph, chosen) == []
    assert time.perf_counter() - planned < max(0.05, planned - started)
