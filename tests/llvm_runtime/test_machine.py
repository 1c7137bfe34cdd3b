from __future__ import annotations

import subprocess
import sys

import pytest

from pathc.backends.llvm import machine as machines
from pathc.backends.llvm import processors
from pathc.backends.llvm.jit import emit_assembly
from pathc.backends.llvm.machine import PRESETS, cache_sizes, host, machine, parse_target, physical_cores
from pathc.support.diagnostics import PathcError

ADD = """
define void @f(ptr %x) {
  %a = load <16 x float>, ptr %x, align 4
  %b = fadd <16 x float> %a, %a
  store <16 x float> %b, ptr %x, align 4
  ret void
}
"""


def codes(text: str) -> list[str]:
    with pytest.raises(PathcError) as caught:
        parse_target(text)
    return [d.code for d in caught.value.diagnostics]


def test_host_is_consistent():
    here = host()
    assert here.runs_here
    assert here.width in (4, 8, 16)
    assert here.avx512 == (here.width == 16)
    assert 1 <= here.cores == physical_cores()
    assert (here.l1, here.l2, here.l3) == cache_sizes()
    assert here.l1 < here.l2 < here.l3


@pytest.mark.parametrize(
    ("preset", "width", "registers", "arch"),
    [("avx512", 16, 32, "x86_64"), ("avx2", 8, 16, "x86_64"), ("sse", 4, 16, "x86_64"), ("aarch64", 4, 32, "aarch64")],
)
def test_presets(preset: str, width: int, registers: int, arch: str):
    made = machine({"cpu": preset})
    assert (made.width, made.registers, made.arch) == (width, registers, arch)
    assert made.fma == (preset != "sse")


@pytest.mark.parametrize(("preset", "register"), [("avx512", "%zmm"), ("avx2", "%ymm"), ("sse", "%xmm")])
def test_presets_use_their_registers(preset: str, register: str):
    text = emit_assembly(ADD, machine({"cpu": preset}))
    assert register in text
    wider = {"avx512": [], "avx2": ["%zmm"], "sse": ["%zmm", "%ymm"]}[preset]
    assert not any(name in text for name in wider)


def test_every_processor_of_the_table_is_known_to_llvm_and_as_wide_as_we_say():
    script = (
        "from pathc.backends.llvm import processors as p\n"
        "from pathc.backends.llvm.machine import machine\n"
        "from pathc.backends.llvm.jit import emit_assembly\n"
        f"ir = '''{ADD}'''\n"
        "for name in (*p.X86_64, *(n for n in p.AARCH64 if n != 'generic')):\n"
        "    m = machine({'cpu': name})\n"
        "    text = emit_assembly(ir, m)\n"
        "    width = 16 if '%zmm' in text else 8 if '%ymm' in text else 4\n"
        "    assert width == m.width, (name, width, m.width)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "not a recognized" not in done.stderr


def test_target_text():
    made = parse_target("llvm{cpu=znver4, features=+avx512f,-fma, width=8, threads=2}")
    assert (made.cpu, made.features, made.width, made.threads) == ("znver4", "+avx512f,-fma", 8, 2)
    assert not made.fma
    assert parse_target("llvm") == host()
    assert parse_target("llvm{}") == host()


def test_features_bring_and_take_what_depends_on_them():
    wide = machine({"cpu": "x86-64-v3", "features": "+avx512vnni +avx512bw +avx512dq +avx512vl"})
    assert wide.avx512
    assert wide.vnni
    assert wide.width == 16
    assert "avx512vnni" not in machine({"cpu": "znver4", "features": "-avx512f"}).has
    assert machine({"cpu": "znver4", "features": "-avx512f"}).width == 8
    assert machine({"cpu": "znver4", "features": "-avx"}).width == 4


def test_implications_are_closed():
    for name in processors.CAPABILITIES:
        assert processors.closed({name}) == processors.closed(processors.closed({name}))
        assert name not in processors.without(processors.closed({name}), name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llvm{cpu=znvr4}", ["E0601"]),
        ("llvm{cpu=}", ["E0601"]),
        ("llvm{features=avx2}", ["E0602"]),
        ("llvm{features=+axx}", ["E0602"]),
        ("llvm{width=7}", ["E0603"]),
        ("llvm{width=-4}", ["E0603"]),
        ("llvm{threads=many}", ["E0603"]),
        ("llvm{threads=99999999999999999999}", ["E0603"]),
        ("llvm{thread=2}", ["E0603"]),
        ("llvm{width}", ["E0603"]),
        ("llvm{width=4,width=8}", ["E0603"]),
        ("llvm{width=4", ["E0603"]),
        ("tvm", ["E0603"]),
        ("llvm{cpu=x, features=+y, width=0, hue=3}", ["E0603", "E0601", "E0602", "E0603"]),
    ],
)
def test_mistakes_are_diagnostics(text: str, expected: list[str]):
    assert codes(text) == expected


def test_a_close_name_is_suggested():
    with pytest.raises(PathcError) as caught:
        machine({"cpu": "znvr4"})
    assert "znver4" in caught.value.diagnostics[0].help


def test_presets_are_all_accepted():
    for preset in PRESETS:
        assert str(machine({"cpu": preset}))


def test_a_system_that_denies_tiles_has_none(monkeypatch: pytest.MonkeyPatch):
    found = {"avx512f": True, "amx-tile": True, "amx-int8": True, "amx-bf16": True}
    monkeypatch.setattr(machines, "_host_features", lambda: dict(found))
    monkeypatch.setattr(machines, "tiles_allowed", lambda: True)
    assert "amx-int8" in machines.host.__wrapped__().has
    monkeypatch.setattr(machines, "tiles_allowed", lambda: False)
    denied = machines.host.__wrapped__()
    assert not any(name.startswith("amx") for name in denied.has)
    assert "-amx-int8" in denied.features
    assert "avx512f" in denied.has
