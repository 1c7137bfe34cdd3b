"""Golden diagnostics: each faulty line of a case says which codes it provokes, in `# error: CODE,...`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pathc.frontend.api import check, load
from pathc.frontend.parser import parse
from pathc.support.diagnostics import PathcError, render
from pathc.support.source import Source, Span

CASES = sorted((Path(__file__).parent / "cases").glob("*.path"))
PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.path"))
MARK = re.compile(r"# error: ([EW\d,]+)")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_codes_stand_on_the_guilty_lines(case: Path) -> None:
    text = case.read_text()
    expected = sorted(
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        for match in MARK.finditer(line)
        for code in match[1].split(",")
    )
    graph, diagnostics = check(Source(case.name, text))
    assert graph is None
    assert sorted((d.loc.line if d.loc else 0, d.code) for d in diagnostics) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_diagnostics_render_in_order_with_carets(case: Path) -> None:
    _, diagnostics = check(Source(case.name, case.read_text()))
    places = [d.place for d in diagnostics]
    assert all(isinstance(place, Span) and place.end > place.start for place in places)
    lines = [d.loc.line for d in diagnostics if d.loc]
    assert lines == sorted(lines)
    assert all("^" in render(d) for d in diagnostics)


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.stem != "targets"], ids=lambda path: path.stem)
def test_programs_are_right(program: Path) -> None:
    graph, diagnostics = check(Source(str(program), program.read_text()))
    assert diagnostics == []
    assert graph is not None
    assert graph.name == program.stem or program.stem == "classifier"
    assert all(node.loc is not None for node in (*graph.stations, *graph.lines, *graph.targets))


def one(text: str) -> tuple[str, str, str]:
    """Code, message and help of the only diagnostic of a text."""
    _, diagnostics = check(Source("m.path", text))
    assert len(diagnostics) == 1, [d.message for d in diagnostics]
    return diagnostics[0].code, diagnostics[0].message, diagnostics[0].help


HEAD = "input x[64]\nlayer hidden[64]\noutput y[64]\n"


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("paths a : x -> hiden -> y { count = 64 }", "did you mean `hidden`?"),
        ("paths a : x -> y { cout = 64 }", "did you mean `count`?"),
        ("paths a : x -> y { count = 64, scramble = sift }", "did you mean `shift`?"),
        ("paths a : x -> y { count = 64, sequence = sobl }", "did you mean `sobol`?"),
        ("paths a : x -> y { count = 64, sign = hadamrd }", "did you mean `hadamard`?"),
        ("paths a : x -> y { count = 64 }\nlayer z[3] : lsmt", "did you mean `lstm`?"),
        ("paths a : x -> y { count = 64 }\nlayer z[3] : lstm(recr = diag)", "did you mean `recur`?"),
        ("paths a : x -> y { count = 64 }\nlayer z[3] : lstm(recur = dig)", "did you mean `diag`?"),
        ("paths a : x -> y { count = 64 }\ntarget z : lvm", "did you mean `llvm`?"),
        ("let PATHS = 64\npaths a : x -> y { count = PATH }", "did you mean `PATHS`?"),
        ("paths a : x -> y { count = 4k }", "did you mean 4000 or 4Ki?"),
        ("paths a : x -> y { count = 64 }\nlaier z[3]", "did you mean `layer`?"),
        ("paths a : x -> y { count = 64 }\ntarget z : llvm { f = 2MHz }", "put a space before the unit: `2 MHz`"),
    ],
)  # fmt: skip
def test_misspelt_names_are_guessed(text: str, help: str) -> None:
    assert one(HEAD + text)[2] == help


def test_the_diagnostic_of_the_missing_dimension() -> None:
    text = HEAD + "paths main : x@0 -> hidden -> y@2 { count = 64 }\n"
    _, diagnostics = check(Source("mlp.path", text))
    assert [render(d) for d in diagnostics] == [
        "error[E0203]: station `hidden` has no Sobol' dimension, its neighbours have\n"
        " --> mlp.path:4:21\n"
        "  |\n"
        "4 | paths main : x@0 -> hidden -> y@2 { count = 64 }\n"
        "  |                     ^^^^^^ choose one\n"
        "help: give every station a dimension, or none of them: `hidden@1`\n"
    ]


def test_names_of_broken_statements_are_not_reported_as_unknown() -> None:
    text = "let P = 4k\ninput x[64\noutput y[64]\npaths main : x -> y { count = P }\n"
    _, diagnostics = check(Source("m.path", text))
    assert [d.code for d in diagnostics] == ["E0106", "E0104"]


@pytest.mark.parametrize("name", ["A", "B", "C", "D"])
def test_broken_number_is_reported_once_wherever_it_is_used(name: str) -> None:
    text = (Path(__file__).parent / "programs" / "lets.path").read_text()
    broken = re.sub(rf"^let {name} = .*$", f"let {name} = 1 / 0", text, flags=re.MULTILINE)
    assert [d.code for d in check(Source("m.path", broken))[1]] == ["E0211"]
    unread = re.sub(rf"^let {name} = .*$", f"let {name} = ", text, flags=re.MULTILINE)
    assert [d.code for d in check(Source("m.path", unread))[1]] == ["E0101"]


def test_load_raises_all_errors_at_once_and_parse_only_those_of_the_text() -> None:
    text = "input x[0]\noutput y[-1]\n"
    with pytest.raises(PathcError) as caught:
        load(Source("m.path", text))
    assert [d.code for d in caught.value.diagnostics] == ["E0209", "E0229", "E0209"]
    assert len(parse(Source("m.path", text)).statements) == 2
    with pytest.raises(PathcError, match="E0106"):
        parse(Source("m.path", "input x[0q]\n"))


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("x -> y { count = 1099511627777 }", "2^40, not 1099511627777"),
        ("x@1234567 -> y@1 { count = 4 }", "65535, not 1234567"),
        ("x@(0:4) -> y@(1:2.5) { count = 4 }", "places, not 2.5"),
    ],
)
def test_integers_that_do_not_fit_are_named_in_all_digits(line: str, ends: str) -> None:
    _, found = check(Source("m.path", f"input x[4]\noutput y[4]\npaths p : {line}\n"))
    assert [(d.code, d.message.endswith(ends)) for d in found] == [("E0209", True)]


def test_number_of_faults_is_bounded() -> None:
    _, diagnostics = check(Source("m.path", "foo\n" * 5000))
    assert len([d for d in diagnostics if d.code == "E0102"]) == 100


def test_empty_text_has_no_ends() -> None:
    for text in ("", "\n\n", "# only a comment", "\ufeff"):
        _, diagnostics = check(Source("m.path", text))
        assert [d.code for d in diagnostics] == ["E0219", "E0219"]
