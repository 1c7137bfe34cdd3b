"""From LLVM IR text to functions in memory, objects and assembly.

Kernels come as explicit-vector IR, so IR passes have nothing to find: the default goes from the parser straight to
code generation. Objects are linked by JITLink, which puts all sections of a kernel into one piece of memory, so
that small-model code reaches its constants wherever the system places it.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from pathc.backends.llvm.cache import Cache, key_of, open_cache
from pathc.backends.llvm.machine import Machine, host
from pathc.support.diagnostics import Diagnostic, InternalError, UnavailableError

_EXPORTED = re.compile(r'^define (?!internal |private )[^@\n]*@"?([\w.$]+)"?\(', re.MULTILINE)
_EXCERPT = 3

_link_lock = threading.Lock()
_numbers = count()


class Library:
    """Compiled functions in memory. They live as long as this object, so whoever keeps an address keeps it too.

    `addresses` maps exported names to entry points; `cached` tells whether the object came from the cache,
    `seconds` how long compiling or loading took; `notes` say what was not as fast as it could be.
    """

    def __init__(
        self,
        ir: str,
        machine: Machine,
        level: int,
        opt: int,
        data: bytes,
        imports: Mapping[str, int],
        cached: bool,
        note: str,
        started: float,
    ) -> None:
        self.ir = ir
        self.machine = machine
        self.level = level
        self.opt = opt
        self.cached = cached
        self.notes = (note,) if note else ()
        self._object = data
        self._tracker, self.addresses = _link(data, _EXPORTED.findall(ir), imports, ir)
        self.seconds = time.perf_counter() - started

    def address(self, name: str) -> int:
        """Entry point of the exported function `name`; keep the library as long as the address is used."""
        return self.addresses[name]

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """The exported function `name` as a ctypes function of these types, keeping the library alive."""
        found: Any = ctypes.CFUNCTYPE(result, *arguments)(self.addresses[name])
        found.library = self
        return found

    def object_bytes(self) -> bytes:
        """The relocatable object."""
        return self._object

    def assembly(self) -> str:
        """The assembly of the same code."""
        return emit_assembly(self.ir, self.machine, level=self.level, opt=self.opt)


_alive: WeakValueDictionary[tuple[bytes, tuple[tuple[str, int], ...]], Library] = WeakValueDictionary()


def compile_ir(
    ir: str,
    machine: Machine | None = None,
    *,
    level: int = 2,
    opt: int = 0,
    store: Cache | None = None,
    imports: Mapping[str, int] | None = None,
) -> Library:
    """Compile LLVM IR text for `machine` (this one if None), or load it from the cache, and link it.

    `level` is the effort of code generation, 1 or 2 (0 would keep vectors in memory), `opt` the level of IR passes
    (0: none). `store` overrides the cache of the environment. `imports` are addresses of functions the text
    declares; `pathc_parallel` and what this process exports are known anyway. The same text gives the same library
    while one is alive. Thread-safe. Raises E0604 where the machine cannot run here, `InternalError` E0699 for IR
    LLVM does not accept.
    """
    started = time.perf_counter()
    machine = machine or host()
    if not machine.runs_here:
        lacking = ", ".join(sorted(machine.missing_here))
        raise UnavailableError(
            Diagnostic(
                "E0604",
                f"code for {machine} cannot run on this machine: it lacks {lacking}",
                help="compile for `cpu=native`, or write an object with `--emit obj` and run it where it fits",
            )
        )
    known = {**_imports(ir), **(imports or {})}
    key = _key(ir, machine, level, opt)
    linked = key, tuple(sorted(known.items()))
    with _link_lock:
        alive = _alive.get(linked)
    if alive is not None:
        return alive
    store = open_cache() if store is None else store
    data = store.get(key)
    cached, note = data is not None, store.note
    if data is None:
        data = emit_object(ir, machine, level=level, opt=opt)
        if not store.put(key, data) and store.folder is not None:
            note = f"{store.folder} cannot be written: the kernel will be compiled anew next time"
    library = Library(ir, machine, level, opt, data, known, cached, note, started)
    with _link_lock:
        return _alive.setdefault(linked, library)


def emit_object(ir: str, machine: Machine, *, level: int = 2, opt: int = 0) -> bytes:
    """The relocatable, position-independent object of LLVM IR text, for any machine LLVM knows."""
    return bytes(_generate(ir, machine, level, opt, "emit_object"))


def emit_assembly(ir: str, machine: Machine, *, level: int = 2, opt: int = 0) -> str:
    """The assembly of LLVM IR text, for any machine LLVM knows."""
    return str(_generate(ir, machine, level, opt, "emit_assembly"))


def _generate(ir: str, machine: Machine, level: int, opt: int, method: str) -> Any:
    llvm = _llvm(machine.arch == host().arch)
    if level not in (1, 2, 3) or opt not in range(4):
        raise ValueError("code generation levels are 1 to 3, IR pass levels 0 to 3")
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(ir, context)
        try:
            target = _target_machine(machine, level)
            module.triple = machine.triple
            module.data_layout = str(target.target_data)
            module.verify()
            if opt:
                builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=opt))
                builder.getModulePassManager().run(module, builder)
            return getattr(target, method)(module)
        finally:
            module.close()
    except RuntimeError as refusal:
        raise _internal(str(refusal), ir) from None
    finally:
        context.close()


def _target_machine(machine: Machine, level: int) -> Any:
    llvm = _llvm(machine.arch == host().arch)
    features = f"{machine.features},-prefer-256-bit" if machine.avx512 else machine.features
    return llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.cpu, features=features.lstrip(","), opt=level, reloc="pic", codemodel="small"
    )


def _key(ir: str, machine: Machine, level: int, opt: int) -> bytes:
    versions = _versions()
    return key_of(versions, machine.triple, machine.cpu, machine.features, str(level), str(opt), ir)


def _link(data: bytes, names: list[str], imports: Mapping[str, int], ir: str) -> tuple[Any, Mapping[str, int]]:
    llvm = _llvm(True)
    builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
    for name, address in imports.items():
        builder.import_symbol(name, address)
    for name in names:
        builder.export_symbol(name)
    with _link_lock:
        try:
            tracker = builder.link(_linker(), f"pathc.{next(_numbers)}")
        except RuntimeError as refusal:
            raise _internal(str(refusal), ir) from None
    return tracker, {name: int(tracker[name]) for name in names}


def _imports(ir: str) -> dict[str, int]:
    if "@pathc_parallel" not in ir or "define void @pathc_parallel" in ir:
        return {}
    from pathc.backends.llvm.native import runtime

    return {"pathc_parallel": runtime().address("pathc_parallel")}


def _internal(message: str, ir: str) -> InternalError:
    place = re.search(r"<string>:(\d+):", message)
    notes = [message.strip()]
    if place:
        line = int(place[1])
        lines = ir.splitlines()[max(0, line - 1 - _EXCERPT) : line + _EXCERPT]
        notes.append("around that line:\n" + "\n".join(lines))
    return InternalError(
        Diagnostic(
            "E0699",
            "the compiler wrote LLVM IR that LLVM does not accept",
            notes=tuple(notes),
            help="this is a mistake of pathc, not of the model; please report it with the model",
        )
    )


@cache
def _llvm(native: bool) -> Any:
    import llvmlite.binding as llvm

    if native:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm


@cache
def _versions() -> str:
    import llvmlite

    version: tuple[int, ...] = _llvm(True).llvm_version_info
    return f"{llvmlite.__version__} {version}"


@cache
def _linker() -> Any:
    return _llvm(True).create_lljit_compiler(_target_machine(host(), 2), use_jit_link=True, suppress_errors=True)
