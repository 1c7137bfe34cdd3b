"""Assembly: instructions as text, and whole programs with all they bring, lossless both ways.

    engine 1                                     the version of the instructions
    .meta {"name": ...}                          sections other than code: meta as JSON, all others as hexadecimal
    .weights 00ff01
      LDA row=0 rows=49 post=0                   ; behind a semicolon anything
      PATH slot=1 steps=256 wait=0+1 post=2 tag=1

Fields that are left out have their least value, 0 if signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pathc.backends.engine.files.objects import from_bytes, machine_of, sections_of
from pathc.backends.engine.files.sections import SECTIONS, frame
from pathc.backends.engine.isa import BY_NAME, ISA_VERSION, Instruction, instruction
from pathc.backends.engine.isa.word import TOKEN_BITS
from pathc.backends.engine.program import Program
from pathc.support.diagnostics import PathcError, did_you_mean, error
from pathc.support.source import Source, Span

_BYTES_A_LINE = 48
_DATA = tuple(name.replace(" ", "_") for name in SECTIONS if name != "code")
_HEADS = ("wait", "post", "tag")


def listing(program: Program) -> str:
    """The instructions with number, assembly and what each was made for; `assemble_code` reads it."""
    rows = [(show(each), program.place(number)) for number, each in enumerate(program.code)]
    width = max((len(text) for text, _ in rows), default=0)
    lines = [f"  {text:{width}}  ; {number}: {place}" for number, (text, place) in enumerate(rows)]
    return "\n".join([f"engine {ISA_VERSION}", *lines]) + "\n"


def disassemble(program: Program) -> str:
    """The whole program as text; `assemble` makes the same program of it."""
    lines = [f"engine {ISA_VERSION}"]
    for name, data in sections_of(program).items():
        if name == "meta":
            lines.append(f".meta {data.decode()}")
        elif name != "code":
            pieces = range(0, len(data), _BYTES_A_LINE)
            lines.extend(f".{name.replace(' ', '_')} {data[k : k + _BYTES_A_LINE].hex()}" for k in pieces)
    return "\n".join(lines) + "\n" + listing(program).split("\n", 1)[1]


def show(each: Instruction) -> str:
    """One instruction as assembly."""
    parts = [each.name]
    for field, value in zip(each.operation.fields, each.values, strict=True):
        if value != (0 if field.signed else field.least):
            parts.append(f"{field.name}={value}")
    for name, mask in (("wait", each.wait), ("post", each.post)):
        if mask:
            parts.append(f"{name}={'+'.join(str(k) for k in range(TOKEN_BITS) if mask >> k & 1)}")
    return " ".join([*parts, f"tag={each.tag}"] if each.tag else parts)


def assemble(source: Source) -> Program:
    """The program that a text describes; E1030 with the place for what cannot be read, or as `from_bytes`."""
    data: dict[str, list[bytes]] = {name: [] for name in SECTIONS}
    for kind, span in _lines(source):
        if kind == "data":
            name, content = _section(span)
            data[name].append(content)
        else:
            data["code"].append(_instruction(span).encode())
    sections = {name: b"".join(parts) for name, parts in data.items()}
    return from_bytes(frame(ISA_VERSION, machine_of(sections["meta"]).hash, sections))


def assemble_code(source: Source) -> tuple[Instruction, ...]:
    """The instructions of a text without sections; E1030 with the place for what cannot be read."""
    found: list[Instruction] = []
    for kind, span in _lines(source):
        if kind == "data":
            raise _wrong(span, "a section stands where only instructions are read")
        found.append(_instruction(span))
    return tuple(found)


def _lines(source: Source) -> Iterator[tuple[str, Span]]:
    """Lines that say something, comments cut off, behind the first, which names the version."""
    first = True
    for number, start in enumerate(source.line_starts, 1):
        line = source.line(number)
        text = line if line.startswith(".meta") else line.split(";", 1)[0]
        begin = start + len(text) - len(text.lstrip())
        span = source.span(begin, start + len(text.rstrip()))
        if not span.text:
            continue
        if first and span.text != f"engine {ISA_VERSION}":
            raise _wrong(span, f"the first line is not `engine {ISA_VERSION}`")
        if not first:
            yield "data" if span.text.startswith(".") else "code", span
        first = False
    if first:
        raise _wrong(source.span(0, 0), "the text is empty")


def _section(span: Span) -> tuple[str, bytes]:
    name, _, content = span.text[1:].partition(" ")
    if name not in _DATA:
        raise _wrong(
            span, f"there is no section `{name}`", did_you_mean(name, _DATA) or f"sections: {', '.join(_DATA)}"
        )
    if name == "meta":
        return name, content.encode(errors="replace")
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", content):
        raise _wrong(span, f"`{name}` holds something else than pairs of hexadecimal digits")
    return name.replace("_", " "), bytes.fromhex(content)


def _instruction(span: Span) -> Instruction:
    words = [(m[0], span.source.span(span.start + m.start(), span.start + m.end())) for m in
             re.finditer(r"\S+", span.text)]  # fmt: skip
    name, place = words[0]
    operation = BY_NAME.get(name)
    if operation is None:
        hint = did_you_mean(name.upper(), BY_NAME) or f"there are {', '.join(BY_NAME)}"
        raise _wrong(place, f"no instruction is called `{name}`", hint)
    fields: dict[str, int] = {}
    for text, here in words[1:]:
        key, equals, value = text.partition("=")
        if not equals or key in fields:
            raise _wrong(here, f"`{text}` is given twice" if equals else f"`{text}` is not `field=number`")
        known = (*(f.name for f in operation.fields), *_HEADS)
        if key not in known:
            hint = did_you_mean(key, known) or f"fields: {', '.join(known)}"
            raise _wrong(here, f"{name} has no field `{key}`", hint)
        fields[key] = _tokens(value, here) if key in ("wait", "post") else _number(value, here)
    try:
        return instruction(operation, **fields)
    except PathcError as reason:
        raise _wrong(span, reason.diagnostics[0].message, reason.diagnostics[0].help) from None


def _number(text: str, place: Span) -> int:
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise _wrong(place, f"`{text[:40]}` is no decimal number of at most 12 digits")
    return int(text)


def _tokens(text: str, place: Span) -> int:
    if not re.fullmatch(r"[0-5](?:\+[0-5])*", text):
        raise _wrong(place, f"`{text[:40]}` are no kinds of tokens", "kinds 0 to 5, joined by +")
    mask = 0
    for kind in text.split("+"):
        mask |= 1 << int(kind)
    return mask


def _wrong(span: Span, what: str, help: str = "") -> PathcError:
    return error("E1030", what, span, help=help)
