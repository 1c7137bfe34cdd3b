from __future__ import annotations

import ctypes
import gc
import random
import threading
from pathlib import Path

import pytest
from runtime_kernels import SCALE

from pathc.backends.llvm.cache import Cache, key_of, open_cache
from pathc.backends.llvm.jit import Library, compile_ir, emit_assembly, emit_object
from pathc.backends.llvm.machine import host, machine
from pathc.support.diagnostics import InternalError, UnavailableError

NO_CACHE = Cache(None)


def constant(value: int) -> str:
    return f"define i64 @get() nounwind {{\n  ret i64 {value}\n}}\n"


def call(library: Library) -> int:
    return library.function("get", ctypes.c_int64)()


@pytest.mark.parametrize("cpu", ["native", "avx2", "generic"])
@pytest.mark.parametrize("level", [1, 2])
def test_text_becomes_a_function(cpu: str, level: int):
    library = compile_ir(constant(42), machine({"cpu": cpu}), level=level, store=NO_CACHE)
    assert call(library) == 42
    assert "get:" in library.assembly()
    assert library.object_bytes()[:4] == b"\x7fELF"


def test_only_what_is_exported_has_an_address():
    text = constant(1) + "define internal i64 @hidden() {\n  ret i64 2\n}\n"
    assert set(compile_ir(text, store=NO_CACHE).addresses) == {"get"}


def test_passes_are_optional():
    text = "define i64 @get(i64 %a) {\n  %b = mul i64 %a, 0\n  %c = add i64 %b, 7\n  ret i64 %c\n}\n"
    assert "$7" in compile_ir(text, opt=2, store=NO_CACHE).assembly()


def test_constants_far_from_code_are_reached():
    table = ", ".join(f"i64 {i * i}" for i in range(512))
    text = (
        f"@table = private constant [512 x i64] [{table}]\n"
        "define i64 @get(i64 %i) {\n  %p = getelementptr i64, ptr @table, i64 %i\n"
        "  %v = load i64, ptr %p\n  ret i64 %v\n}"
    )
    library = compile_ir(text, store=NO_CACHE)
    read = library.function("get", ctypes.c_int64, ctypes.c_int64)
    assert [read(i) for i in range(512)] == [i * i for i in range(512)]


@pytest.mark.parametrize(
    "text",
    [
        "define void @f( {",
        "define i64 @f() {\n  %a = add i64 %b, 1\n  ret i64 %a\n}",
        "define i64 @f() {\n  ret i32 1\n}",
        "declare void @nobody_has_this()\ndefine void @f() {\n  call void @nobody_has_this()\n  ret void\n}",
        "define void @f() {\nentry:\n  br label %entry\n}",
    ],
)
def test_refused_text_is_an_internal_error(text: str):
    with pytest.raises(InternalError) as caught:
        compile_ir(text, store=NO_CACHE)
    assert caught.value.exit_code == 70
    assert caught.value.diagnostics[0].code == "E0699"
    assert caught.value.diagnostics[0].notes


def test_code_for_another_machine_is_not_run():
    with pytest.raises(UnavailableError) as caught:
        compile_ir(constant(1), machine({"cpu": "aarch64"}), store=NO_CACHE)
    assert caught.value.exit_code == 3
    assert caught.value.diagnostics[0].code == "E0604"


def test_an_object_for_aarch64():
    arm = machine({"cpu": "aarch64"})
    assert int.from_bytes(emit_object(SCALE, arm)[18:20], "little") == 183
    assert "fmul" in emit_assembly(SCALE, arm)
    assert int.from_bytes(emit_object(SCALE, machine({"cpu": "generic"}))[18:20], "little") == 62


def test_the_same_text_is_the_same_library_while_it_lives():
    first = compile_ir(constant(5), store=NO_CACHE)
    assert compile_ir(constant(5), store=NO_CACHE) is first
    assert compile_ir(constant(5), machine({"cpu": "generic"}), store=NO_CACHE) is not first


def test_libraries_come_and_go_in_any_order():
    rng = random.Random(3)
    alive = {}
    for step in range(150):
        if alive and rng.random() < 0.45:
            del alive[rng.choice(list(alive))]
        else:
            alive[step] = compile_ir(constant(step), store=NO_CACHE, level=1)
        for value in rng.sample(list(alive), min(3, len(alive))):
            assert call(alive[value]) == value
        if step % 50 == 0:
            gc.collect()


def test_a_function_keeps_its_library():
    function = compile_ir(constant(12345), store=NO_CACHE).function("get", ctypes.c_int64)
    gc.collect()
    assert function() == 12345


def test_compiling_on_many_threads():
    wrong: list[object] = []

    def work(seed: int) -> None:
        for i in range(12):
            try:
                if call(compile_ir(constant(seed * 100 + i), store=NO_CACHE)) != seed * 100 + i:
                    wrong.append((seed, i))
            except Exception as problem:
                wrong.append(problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class TestCache:
    def test_second_compilation_loads(self, tmp_path: Path):
        store = Cache(tmp_path)
        first = compile_ir(constant(77), store=store)
        assert not first.cached
        del first
        gc.collect()
        second = compile_ir(constant(77), store=store)
        assert second.cached
        assert call(second) == 77

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "extend", "swap"])
    def test_damage_is_noticed_and_repaired(self, tmp_path: Path, damage: str):
        store = Cache(tmp_path)
        key, other = key_of("a"), key_of("b")
        assert store.put(key, b"object" * 100)
        assert store.put(other, b"others" * 100)
        path = store.path(key)
        assert path is not None
        data = path.read_bytes()
        path.write_bytes(
            {
                "flip": data[:200] + bytes([data[200] ^ 1]) + data[201:],
                "cut": data[:-1],
                "empty": b"",
                "extend": data + b"x",
                "swap": (store.path(other) or path).read_bytes(),
            }[damage]
        )
        assert store.get(key) is None
        assert not path.exists()
        assert store.put(key, b"object" * 100)
        assert store.get(key) == b"object" * 100

    def test_a_damaged_object_is_compiled_again(self, tmp_path: Path):
        store = Cache(tmp_path)
        compile_ir(constant(78), store=store)
        gc.collect()
        (path,) = tmp_path.glob("*.o")
        path.write_bytes(path.read_bytes()[:-40])
        again = compile_ir(constant(78), store=store)
        assert not again.cached
        assert call(again) == 78

    def test_size_is_bounded_and_the_least_used_go(self, tmp_path: Path):
        import os

        store = Cache(tmp_path, limit=10_000)
        for i in range(12):
            assert store.put(key_of(str(i)), bytes(1000))
            os.utime(store.path(key_of(str(i))) or tmp_path, (i, i))
        assert sum(p.stat().st_size for p in tmp_path.glob("*.o")) <= 10_000
        assert store.get(key_of("11")) is not None
        assert store.get(key_of("0")) is None
        assert not store.put(key_of("huge"), bytes(20_000))

    def test_nothing_half_written_is_left(self, tmp_path: Path):
        store = Cache(tmp_path)
        store.put(key_of("x"), bytes(10))
        assert [p.suffix for p in tmp_path.iterdir()] == [".o"]

    def test_the_environment_decides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PATHC_CACHE", "off")
        assert open_cache().folder is None
        assert open_cache().note
        monkeypatch.setenv("PATHC_CACHE", str(tmp_path / "mine"))
        monkeypatch.setenv("PATHC_CACHE_MB", "3")
        assert open_cache() == Cache(tmp_path / "mine" / "objects", 3 << 20)
        monkeypatch.delenv("PATHC_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert open_cache().folder == tmp_path / "pathc" / "objects"

    def test_a_directory_others_may_write_to_is_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        open_door = tmp_path / "open"
        open_door.mkdir()
        open_door.chmod(0o777)
        monkeypatch.setenv("PATHC_CACHE", str(open_door))
        assert open_cache().folder is None
        assert "other users" in open_cache().note

    def test_an_unwritable_place_is_said(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        store = Cache(tmp_path / "file" / "objects")
        library = compile_ir(constant(79), store=store)
        assert call(library) == 79
        assert library.notes

    def test_keys_separate_their_parts(self):
        assert key_of("ab", "c") != key_of("a", "bc")
        assert key_of("ab") != key_of("ab", "")


def test_host_options_differ_in_their_key(tmp_path: Path):
    store = Cache(tmp_path)
    for cpu in ("native", "avx2", "generic"):
        compile_ir(constant(80), machine({"cpu": cpu}), store=store)
    assert len(list(tmp_path.glob("*.o"))) == len({host().cpu, "x86-64-v3", "x86-64"})
