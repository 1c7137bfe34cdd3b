"""Random programs as text: many spellings, comments everywhere they may stand."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = st.sampled_from(["x", "h1", "layer", "P_2", "y", "paths", "u8", "Ki"])
NUMBERS = st.sampled_from(["0", "4096", "4_096", "4Ki", "0.5", "1e-3", "3x3", "200 MHz", "2%", "12 KiB"])
COMMENTS = st.sampled_from(["", "", "", "  # why", '# "odd" { ( [', "  #", " # ümläut"])
BLANKS = st.sampled_from(["", " ", "  ", "\t"])


def _sums(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", " - ", "*", " / "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
        st.tuples(NAMES, inner, NAMES, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]}={t[3]},)"),
        inner.map(lambda text: f"min(\n  {text} # inside\n)"),
    )


EXPRESSIONS = st.recursive(st.one_of(NAMES, NUMBERS, st.just('"a \\"b\\" \\\\ c"')), _sums, max_leaves=6)
ENTRIES = st.tuples(NAMES, BLANKS, EXPRESSIONS).map(lambda t: f"{t[0]}{t[1]}={t[1]}{t[2]}")


@st.composite
def blocks(draw: st.DrawFn) -> str:
    """Attributes in braces, on one line or many, or none."""
    entries = draw(st.lists(ENTRIES, max_size=4))
    style = draw(st.sampled_from(["none", "line", "lines", "mixed"]))
    if style == "none":
        return ""
    if style == "line":
        return f"{{{', '.join(entries)}}}"
    between = "," if style == "mixed" and draw(st.booleans()) else ""
    lines = [f"  {entry}{between}{draw(COMMENTS)}" for entry in entries]
    own = draw(st.sampled_from(["", "  # own line\n", "\n\n"]))
    return f" {{{draw(COMMENTS)}\n{own}" + "\n".join(lines) + f"\n{own}}}"


STAGES = st.one_of(NAMES, st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]}({t[1]})"))
ARROWS = st.sampled_from([" -> ", "->", " ->\n  ", "\n    -> ", " -> # step\n ", " # step\n -> "])


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One statement, possibly over several lines."""
    kind = draw(st.sampled_from(["pathc", "use", "let", "model", "station", "line", "target"]))
    name = draw(NAMES)
    if kind == "pathc":
        return "pathc 1"
    if kind == "use":
        return 'use  "a b.path"'
    if kind == "let":
        return f"let {name}={draw(EXPRESSIONS)}"
    if kind == "model":
        return f"model   {name}"
    if kind == "target":
        return f"target {name}:tvm-llvm {draw(blocks())}"
    if kind == "line":
        visits = draw(
            st.lists(
                st.tuples(NAMES, st.sampled_from(["", "@0", "@P", "@(1+ 2)", "@( 0:28,1 : P*2 , )"])).map("".join),
                min_size=1,
                max_size=14,
            )
        )
        chain = visits[0] + "".join(draw(ARROWS) + visit for visit in visits[1:])
        return f"{draw(st.sampled_from(['paths', 'dense', 'skip']))} {name} : {chain} {draw(blocks())}"
    extents = draw(st.sampled_from(["[3]", "[ P*2 , 32x32 ]", "[\n 3, # c\n 4x4]"]))
    pipeline = " | ".join(draw(st.lists(STAGES, max_size=4)))
    role = draw(st.sampled_from(["input", "layer", "output"]))
    return f"{role} {name}{extents}{':' if pipeline else ''}{pipeline}{draw(blocks())}"


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A text that parses; it need not make sense."""
    out: list[str] = []
    for statement in draw(st.lists(statements(), max_size=6)):
        out.append(draw(st.sampled_from(["", "", "\n", "\n\n\n", "# above\n", "  # indented\n\n"])))
        out.append(f"{statement}{draw(COMMENTS)}\n")
    return "".join(out)
