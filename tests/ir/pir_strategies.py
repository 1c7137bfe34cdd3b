"""Hypothesis strategies for graphs, whatever they mean: every one can be printed and read back."""

from __future__ import annotations

import dataclasses
import typing

from hypothesis import strategies as st

from pathc.ir.graph import Axis, Graph, Line, Station, Target, Visit
from pathc.ir.text.facts import fact_classes
from pathc.ir.text.values import is_bare
from pathc.ir.types import SCALAR_NAMES, Call, Quantity, ScalarType, Size, Word, fixed_point, plain_type
from pathc.support.source import Loc

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
words = st.from_regex(r"[a-z][a-z0-9]{0,4}([+-][a-z]{1,3}){0,2}", fullmatch=True).filter(is_bare)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
integers = st.integers(0, 1 << 62)
floats = st.floats(allow_nan=False)
types = st.sampled_from([n for n in SCALAR_NAMES if n != "fix"]).map(plain_type) | st.builds(
    fixed_point, st.integers(1, 64), st.integers(0, 64)
)
leaves = (
    st.booleans()
    | st.integers(-(1 << 62), 1 << 62)
    | floats
    | texts
    | words.map(Word)
    | st.lists(st.integers(0, 1 << 20), min_size=1, max_size=4).map(lambda n: Size(tuple(n)))
    | st.builds(Quantity, floats | st.integers(0, 1 << 40), st.sampled_from(["%", "MHz", "KiB", "ns"]))
    | types
)


def options_of(values):
    return st.dictionaries(names, values, max_size=3).map(lambda d: tuple(d.items()))


def calls_of(values):
    return st.builds(Call, words, options_of(values))


values = st.recursive(leaves, calls_of, max_leaves=4)
calls = calls_of(values)
locs = st.builds(Loc, texts.filter(bool), st.integers(1, 10**9), st.integers(1, 10**9))
maybe_locs = st.none() | locs
stations = st.builds(
    Station,
    names,
    st.sampled_from(["input", "layer", "output"]),
    st.lists(integers, min_size=1, max_size=3).map(tuple),
    types,
    st.lists(calls, max_size=3).map(tuple),
    integers,
    texts,
    maybe_locs,
)


@st.composite
def lines(draw):
    loc = draw(maybe_locs)
    places = st.none() if loc is None else st.none() | locs | st.builds(Loc, st.just(loc.file), integers, integers)
    plain = st.builds(Visit, names, st.integers(0, 1 << 40), places.filter(_short))
    axes = st.lists(st.builds(Axis, st.integers(0, 1 << 40), st.integers(0, 1 << 40)), min_size=1, max_size=3)
    gridded = st.builds(
        lambda name, loc, axes: Visit(name, axes[0].dim, loc, tuple(axes)), names, places.filter(_short), axes
    )
    visits = st.lists(plain | gridded, min_size=1, max_size=4)
    return Line(
        draw(names),
        draw(st.sampled_from(["paths", "dense", "skip"])),
        tuple(draw(visits)),
        draw(integers),
        draw(calls),
        draw(calls),
        draw(st.just("") | names),
        draw(st.booleans()),
        draw(floats),
        draw(options_of(values)),
        draw(texts),
        loc,
    )


def _short(loc):
    return loc is None or max(loc.line, loc.column) < 10**12


def facts_of(kind):
    hints = typing.get_type_hints(kind)
    special = {"line": names, "station": names, "junction": integers, "visit": integers, "loc": maybe_locs}
    fields = {
        field.name: special[field.name] if field.name in special else _values_of(hints[field.name])
        for field in dataclasses.fields(kind)
    }
    return st.builds(kind, **fields).filter(lambda fact: fact == fact)


def _values_of(hint):
    return types if hint is ScalarType else st.from_type(hint)


facts = st.one_of([facts_of(kind) for kind in fact_classes().values()])
targets = st.builds(Target, names, words, options_of(values), maybe_locs)
graphs = st.builds(
    Graph,
    names,
    st.lists(stations, max_size=3).map(tuple),
    st.lists(lines(), max_size=2).map(tuple),
    st.lists(targets, max_size=2).map(tuple),
    st.lists(facts, max_size=3).map(tuple),
    texts,
    maybe_locs,
)
