"""Plans as text: what is printed reads back the same, what is wrong is named at its place."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from net_support import MACHINES, graph_of, models
from plan_support import NETS, RELU, WIDE, plans_of, source_of

from pathc.backends.llvm.forms import tile_options
from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.plan import TileOption
from pathc.backends.llvm.plantext import parse_plan, parse_plans, print_plan
from pathc.backends.llvm.verify import violations
from pathc.support.diagnostics import PathcError, render_all
from pathc.support.source import Source

MACHINE_NAMES = sorted({*MACHINES, "avx512", "avx2", "aarch64"})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    models(),
    st.sampled_from(MACHINE_NAMES),
    st.sampled_from([1, 2, 4]),
    st.tuples(*[st.sampled_from(["rows", "units"])] * 2),
)
def test_plans_of_random_models_read_back_and_hold(graph, cpu, vectors, orders):
    chosen = machine({"cpu": cpu})
    for plan in plans_of(graph, chosen, columns=vectors * chosen.width, orders=orders):
        assert parse_plan(Source("a.plan", print_plan(plan)), graph) == plan
        assert parse_plan(Source("b.plan", print_plan(plan, chosen)), graph) == plan
        assert violations(plan, graph, chosen) == []


@pytest.mark.parametrize("name", NETS)
def test_two_families_in_one_text(name):
    graph, plans = NETS[name], plans_of(NETS[name])
    texts = parse_plans(source_of(*plans), graph)
    assert tuple(text.plan for text in texts) == plans
    for text in texts:
        assert [text.places[at].text for at in range(len(text.plan.ops))] == [
            {"Post": "apply"}.get(type(op).__name__, type(op).__name__.lower()) for op in text.plan.ops
        ]
        assert all(text.places[b.name].text == f"%{b.station}" for b in text.plan.buffers)


def test_the_text_shows_forms_orders_places_and_costs():
    row, column = plans_of(NETS["branched"])
    text = print_plan(row, WIDE)
    assert re.search(r"^  %c\.1 = 256 at \d+ order xor\(([0-9a-f]{2}, ){7}[0-9a-f]{2}\)$", text, re.MULTILINE)
    assert " | leaky(slope = 0.25), weights f32  # " in text
    assert re.search(r"; \d+ cycles$", text, re.MULTILINE)
    assert re.search(r"^  move %\S+ -> %\S+$", text, re.MULTILINE)
    assert "  apply %y | softmax\n" in text
    assert "  save %v -> y[256:286]\n" in text
    assert "tile(destinations = 2, sources = 2)" in print_plan(column)
    fused = print_plan(plans_of(NETS["fused"])[1])
    assert " from zero | relu then $main.2 256 -> 256 by 1024 from zero | relu" in fused
    assert len(text.splitlines()) == 5 + len(row.buffers) + len(row.ops)


def test_the_text_shows_what_stays_in_the_users_arrays():
    graph = NETS["blocks"]
    plan = plans_of(graph, orders=("units", "units"))[1]
    text = print_plan(plan)
    assert re.search(r"^  %s0 = 256 at \d+ in x$", text, re.MULTILINE)
    assert re.search(r"^  %s3 = 16 at \d+ in y$", text, re.MULTILINE)
    assert "  load x.T[0:256] -> %s0\n" in text
    assert "  save %s3 -> y.T[0:16]\n" in text
    for old, new, code in [("x.T", "x.S", "E0640"), ("x.T", "y.T", "E0640"), (" in x", " in z", "E0643")]:
        with pytest.raises(PathcError, match=code):
            parse_plan(Source("net.plan", text.replace(old, new)), graph)


def test_comments_and_blank_lines_are_passed():
    plan = plans_of(NETS["general"])[0]
    text = print_plan(plan).replace("\n", "  # a remark\n\n   # more\n")
    assert parse_plan(Source("net.plan", text), NETS["general"]) == plan


GOOD = print_plan(plans_of(NETS["general"])[0])
PLACE = re.findall(r"%s1 = (32 at \d+)", GOOD)[0]
WRONG = [
    ("plan 1", "pir 1", "E0641", "pir"),
    ("plan 1", "plan 2", "E0641", "2"),
    ("row net", "rows net", "E0643", "rows"),
    ("width = 16", "width = -3", "E0644", "-3"),
    ("width = 16", "height = 16", "E0643", "height"),
    ("width = 16", "width = 16, width = 16", "E0644", "width"),
    ("width = 16, ", "", "E0644", "row"),
    ("inputs = 50", "inputs = 9999999999999999999", "E0644", "9999999999999999999"),
    ("  load", "  lode", "E0643", "lode"),
    ("load x", "load y", "E0640", "y"),
    ("x[0:50]", "x[9:5]", "E0644", "5"),
    ("-> %s1 :", "-> %s9 :", "E0643", "%s9"),
    ("-> %s1 :", "-> %s1.4 :", "E0643", "%s1"),
    ("windowed $main.1", "windowed $main.7", "E0643", "$main"),
    ("windowed $main.1", "windowed $mian.1", "E0643", "$mian"),
    ("windowed $main.1", "window $main.1", "E0612", "window"),
    ("50 -> 30", "51 -> 30", "E0645", "51"),
    ("by 400", "by 401", "E0645", "50"),
    ("from zero", "from nothing", "E0643", "nothing"),
    ("weights f32", "weights f64", "E0643", "f64"),
    ("weights f32", "weights f32, tile(a = b)", "E0644", "tile"),
    ("%s1 = 32 at", "%s0 = 32 at", "E0644", "%s0"),
    (PLACE, "32 at order xor(01)", "E0640", "order"),
    (PLACE, "32", "E0644", "%s1"),
    (PLACE, f"{PLACE} order xor(zz)", "E0640", "zz"),
    (PLACE, f"{PLACE} order xor({'1, ' * 50}1)", "E0644", ","),
    ("}\n", "", "E0642", ""),
    ("}\n", "}\nrow", "E0642", ""),
    ("}\n", "}\n}", "E0640", "}"),
    ('"', "", "E0640", "x86"),
]


@pytest.mark.parametrize(("old", "new", "code", "at"), WRONG)
def test_mistakes_are_named_at_their_place(old, new, code, at):
    assert old in GOOD
    with pytest.raises(PathcError) as caught:
        parse_plans(Source("net.plan", GOOD.replace(old, new, 1)), NETS["general"])
    first = caught.value.diagnostics[0]
    assert (first.code, first.place.text) == (code, at), first
    assert "net.plan:" in render_all(caught.value.diagnostics)


def test_several_mistakes_in_one_run():
    text = GOOD.replace("windowed", "widowed").replace("load x", "load 5").replace("from zero", "from one")
    with pytest.raises(PathcError) as caught:
        parse_plans(Source("net.plan", text), NETS["general"])
    assert len(caught.value.diagnostics) == 3


def test_one_plan_of_a_family():
    row, column = plans_of(NETS["general"])
    with pytest.raises(PathcError, match="E0641: there are two plans of row kernels"):
        parse_plans(source_of(row, row), NETS["general"])
    with pytest.raises(PathcError, match="E0641: the text holds two plans"):
        parse_plan(source_of(row, column), NETS["general"])


def test_a_plan_of_another_net_is_refused():
    with pytest.raises(PathcError, match=r"E0645: .* is 50 -> 30 by 500"):
        parse_plans(source_of(*plans_of(NETS["general"])), graph_of((50, 30, 10), 500, RELU))


def test_long_texts_are_not_read():
    with pytest.raises(PathcError, match="E0646"):
        parse_plans(Source("net.plan", " " * ((1 << 26) + 1)), NETS["general"])


def test_tiles_stand_in_the_plans_of_forms_that_have_them():
    (step,) = [op.step for op in plans_of(graph_of((50, 30), 100, RELU))[1].runs]
    assert step.tile == (("rows", 28),)
    assert all(isinstance(option, TileOption) for option in tile_options(step.form))
    assert replace(step, tile=()).option("vectors", 5) == 5
