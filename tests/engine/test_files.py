"""Object files and assembly: lossless both ways, hostile bytes refused by name and offset."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from engine_programs import SMALL, instructions, make, program
from hypothesis import given
from hypothesis import strategies as st

from pathc.backends.engine.files import assemble, disassemble, from_bytes, listing, read_program, to_bytes
from pathc.backends.engine.files.assembly import assemble_code
from pathc.backends.engine.files.objects import sections_of
from pathc.backends.engine.files.sections import SECTIONS, frame
from pathc.backends.engine.isa import ISA_VERSION
from pathc.backends.engine.machine import Machine
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

WHOLE = to_bytes(program(make("LDA", rows=2, post=1), make("SYNC"), make("HALT")))
REFUSED = {"E1004", "E1020", "E1021", "E1022", "E1023", "E1024", "E1002", "E1003", "E1005"}


def refusal(data: bytes) -> str:
    with pytest.raises(PathcError) as caught:
        from_bytes(data)
    (said,) = caught.value.diagnostics
    assert said.code in REFUSED
    return f"{said.code} {said.message} {' '.join(said.notes)}"


def signed(data: bytes) -> bytes:
    """The same with a checksum that fits, as a forger would have it."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


@given(st.lists(instructions(), max_size=20), st.integers(0, 99))
def test_programs_survive_objects_and_assembly(code: list, seed: int) -> None:
    data = to_bytes(program(*code, seed=seed))
    assert to_bytes(from_bytes(data)) == data
    assert to_bytes(assemble(Source("a.s", disassemble(from_bytes(data))))) == data
    assert assemble_code(Source("a.s", listing(from_bytes(data)))) == tuple(code)


def test_every_flipped_bit_is_noticed() -> None:
    for position in range(0, len(WHOLE), 7):
        for bit in (0, 5):
            changed = bytearray(WHOLE)
            changed[position] ^= 1 << bit
            assert "offset" in refusal(bytes(changed))


def test_every_cut_is_noticed() -> None:
    for length in range(0, len(WHOLE), 13):
        assert "offset" in refusal(WHOLE[:length])


@given(st.data())
def test_forged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(WHOLE) - 33))
        changed[position] = data.draw(st.integers(0, 255))
    try:
        found = from_bytes(signed(bytes(changed)))
    except PathcError as refused:
        codes = {said.code for said in refused.diagnostics}
    else:
        assert to_bytes(found) == signed(bytes(changed))
        return
    assert codes <= REFUSED


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_are_refused(data: bytes) -> None:
    refusal(b"PATHENG\0" + data)
    refusal(signed(b"PATHENG\0" + ISA_VERSION.to_bytes(2, "little") + data + bytes(60)))


def forged(**changes: object) -> bytes:
    """The whole object with entries of its JSON or with sections replaced."""
    sections = sections_of(from_bytes(WHOLE))
    meta = json.loads(sections["meta"])
    for name, value in changes.items():
        if name in meta:
            meta[name] = value
        else:
            assert isinstance(value, bytes)
            sections[name.replace("_", " ")] = value
    sections["meta"] = json.dumps(meta, separators=(",", ":")).encode() if "json" not in changes else sections["json"]
    return frame(ISA_VERSION, SMALL.hash, {name: sections[name] for name in SECTIONS})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": 0}, "samples"), ({"samples": 1 << 40}, "samples"), ({"samples": "1"}, "samples"),
        ({"inputs": []}, "inputs"), ({"places": [1]}, "places"), ({"place_of": [0]}, "places of other"),
        ({"place_of": [0, 0, 9]}, "not listed"), ({"output_rows": 1}, "rows that the outputs"),
        ({"name": "x" * 5000}, "name"), ({"input_map": b"\xff\xff\xff\x7f" * 4}, "units that the inputs"),
        ({"code": b"\0" * 16}, "opcode 0"), ({"code": b"\0" * 15}, "15 bytes of code"),
        ({"config": b"\0" * 3}, "3 bytes"), ({"parameters": b"\0\0\0\x70" * 16}, "multipliers"),
        ({"output_scales": np.full(8, np.nan).tobytes()}, "not finite"), ({"json": b"[" * 100000}, "JSON"),
        ({"json": b"1" * 10000}, "JSON"), ({"json": b"NaN"}, "JSON"), ({"tables": bytes(16 * 20000)}, "tables"),
        ({"machine": {"lanes": 4}}, "machine"), ({"steps": -1}, "steps"), ({"lockstep": 0}, "lockstep"),
        ({"steps": 1 << 16, "samples": 1 << 16}, "more samples"), ({"curves": bytes(255)}, "255 bytes"),
        ({"curves": bytes(256 * 5)}, "curves"),
    ],
)  # fmt: skip
def test_forged_content_is_refused_with_its_offset(change: dict[str, object], said: str) -> None:
    message = refusal(forged(**change))
    assert said in message
    assert re.search(r"offset \d+", message)


def test_other_machines_versions_and_files_are_refused(tmp_path: Path) -> None:
    assert "E1021" in refusal(signed(WHOLE[:8] + b"\x09" + WHOLE[9:]))
    assert "E1024" in refusal(signed(WHOLE[:16] + bytes(16) + WHOLE[32:]))
    assert "E1020" in refusal(b"\x7fELF" + WHOLE[4:])
    path = tmp_path / "net.pe"
    path.write_bytes(WHOLE)
    assert read_program(path, SMALL).machine == SMALL
    with pytest.raises(PathcError, match="`lanes` is 4 there and 16 here"):
        read_program(path, Machine())


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("PAHT slot=1", "2:3"), ("PATH slat=1", "2:8"), ("PATH slot", "2:8"), ("PATH slot=1 slot=2", "2:15"),
        ("PATH slot=16", "2:3"), ("PATH slot=x", "2:8"), ("PATH wait=6", "2:8"), ("PATH wait=0+", "2:8"),
        (".waights 00", "2:3"), (".weights 0", "2:3"), ("PATH tag=16", "2:3"), ("PATH slot=" + "9" * 99, "2:8"),
    ],
)  # fmt: skip
def test_wrong_assembly_is_refused_at_its_place(line: str, place: str) -> None:
    with pytest.raises(PathcError) as caught:
        assemble(Source("a.s", f"engine {ISA_VERSION}\n  {line}\n"))
    (said,) = caught.value.diagnostics
    assert (said.code, str(said.loc)) == ("E1030", f"a.s:{place}")


@given(st.text(max_size=80))
def test_any_text_is_assembled_or_refused(text: str) -> None:
    codes: list[str] = []
    for whole in (text, f"engine {ISA_VERSION}\n{text}", f"engine {ISA_VERSION}\nPATH {text}"):
        try:
            assemble_code(Source("a.s", whole))
        except PathcError as refused:
            codes.append(refused.diagnostics[0].code)
    assert {*codes} <= {"E1030"}
