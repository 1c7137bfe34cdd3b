"""The processor kernels are made for: vector width, capabilities, caches, cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from pathc.backends.llvm import processors
from pathc.support.diagnostics import Diagnostic, PathcError, Place, did_you_mean, error

PRESETS = ("native", "avx512", "avx2", "sse", "generic", "aarch64")
"""Short names accepted as `cpu`: this machine, x86-64-v4, x86-64-v3, x86-64 (twice), AArch64 with NEON."""

OPTIONS = ("cpu", "features", "width", "threads")
_ALL_OPTIONS = (*OPTIONS, "weights", "precision", "arrays", "integers", "events", "rate", "from")
"""Those of the target, of which kernels other than for the machine itself make something."""
_WIDTHS = (4, 8, 16)
_MAX_THREADS = 1024
T = TypeVar("T")
TILES_PLEASE = 158, 0x1023, 18
"""The call of Linux on x86-64 that asks for tile data: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`."""
_LINUX = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}


@dataclass(frozen=True)
class Machine:
    """A processor as kernels see it.

    `width` is the vector width in float32 lanes. `has` names capabilities in LLVM's spelling ("avx2", "fma",
    "avx512f", "avx512vbmi", "avx512vnni", "avx512bf16", "neon", ...), closed under implication. `l1`, `l2`, `l3`
    are bytes of data cache (l1 and l2 of one core, l3 shared), `cores` the physical cores this process may use,
    `threads` what the user asked for (0: as many as cores, for batches worth it).
    """

    triple: str
    cpu: str
    features: str
    width: int
    has: frozenset[str]
    l1: int = field(default=32 << 10, compare=False)
    l2: int = field(default=1 << 20, compare=False)
    l3: int = field(default=16 << 20, compare=False)
    cores: int = field(default=1, compare=False)
    threads: int = field(default=0, compare=False)

    @property
    def arch(self) -> str:
        """Architecture, the first part of the triple."""
        return self.triple.split("-", 1)[0]

    @property
    def workers(self) -> int:
        """Threads that a call uses: those asked for, or all cores."""
        return self.threads or self.cores

    @property
    def avx512(self) -> bool:
        """Whether 512-bit vectors with 32 registers and masks on every type may be used."""
        return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= self.has

    @property
    def avx2(self) -> bool:
        """Whether 256-bit integer and float vectors may be used."""
        return "avx2" in self.has

    @property
    def fma(self) -> bool:
        """Whether a * b + c is one instruction; without it `llvm.fma` becomes a library call per lane."""
        return "fma" in self.has or "neon" in self.has

    @property
    def vbmi(self) -> bool:
        """Whether bytes permute across a whole vector."""
        return "avx512vbmi" in self.has

    @property
    def vnni(self) -> bool:
        """Whether u8 x s8 dot products of four exist on 512-bit vectors."""
        return "avx512vnni" in self.has

    @property
    def bf16(self) -> bool:
        """Whether bfloat16 dot products exist."""
        return "avx512bf16" in self.has or ("bf16" in self.has and "neon" in self.has)

    @property
    def registers(self) -> int:
        """Vector registers."""
        return 32 if self.avx512 or "neon" in self.has else 16

    @property
    def dual(self) -> bool:
        """Whether two multiply-adds of 512 bits start in a clock, so that loads and shuffles are what is scarce.

        Told by half-precision arithmetic, which came later: systems that divide a processor often hide its name.
        """
        return self.avx512 and "avx512fp16" in self.has

    @property
    def missing_here(self) -> frozenset[str]:
        """What kernels for this machine may use and this host lacks; empty if they run here."""
        here = host()
        if self.arch != here.arch:
            return frozenset({self.arch})
        return self.has - here.has

    @property
    def runs_here(self) -> bool:
        """Whether kernels for this machine can be executed by this process."""
        return not self.missing_here

    def __str__(self) -> str:
        return f"{self.cpu} ({self.arch}, {self.width} lanes)"


@cache
def host() -> Machine:
    """The machine this process runs on, with every vector capability the system lets it use."""
    import llvmlite.binding as llvm

    triple = llvm.get_process_triple()
    found = _host_features()
    if found.get("amx-tile") and not tiles_allowed():
        found.update(dict.fromkeys((name for name in found if name.startswith("amx")), False))
    held = {name for name, present in found.items() if present and name in processors.CAPABILITIES}
    if triple.startswith(("aarch64", "arm64")):
        held.add("neon")
    has = frozenset(processors.closed(held))
    features = ",".join(f"{'+' if present else '-'}{name}" for name, present in sorted(found.items()))
    l1, l2, l3 = cache_sizes()
    return Machine(triple, llvm.get_host_cpu_name(), features, _width(has), has, l1, l2, l3, physical_cores())


@cache
def tiles_allowed() -> bool:
    """Ask the system for tile registers, which a process has to do once before it uses them."""
    import ctypes

    try:
        syscall = ctypes.CDLL(None).syscall
    except (AttributeError, OSError):
        return False
    return syscall(*map(ctypes.c_long, TILES_PLEASE)) == 0


def machine(options: Mapping[str, object] | None = None, place: Place = None) -> Machine:
    """The machine a target's options describe: `cpu`, `features`, `width`, `threads`; all may be absent.

    `cpu` is a preset or LLVM's name of a processor, `features` a list like `+avx512f,-fma`. Values are taken by
    their text. Raises E0601 (processor), E0602 (feature), E0603 (option or value), all mistakes at once.
    """
    given = {name: str(value).strip().strip('"') for name, value in (options or {}).items()}
    mistakes: list[Diagnostic] = []
    for name in given:
        if name not in OPTIONS:
            mistakes.append(
                Diagnostic(
                    "E0603",
                    f"the LLVM target has no option `{name}`",
                    place,
                    help=did_you_mean(name, _ALL_OPTIONS) or f"its options are {', '.join(_ALL_OPTIONS)}",
                )
            )
    base = _checked(mistakes, _by_name, given.get("cpu", "native"), place)
    features = _checked(mistakes, _features, given.get("features", ""), base or host(), place)
    threads = _checked(mistakes, _number, "threads", given.get("threads", "0"), range(_MAX_THREADS + 1), place)
    width = _checked(mistakes, _number, "width", given.get("width", "4"), _WIDTHS, place)
    if base is None or features is None or threads is None or width is None or mistakes:
        raise PathcError(*mistakes)
    has = set(base.has)
    for feature in features:
        name = feature[1:]
        if feature[0] == "-":
            has = processors.without(has, name)
        elif name in processors.CAPABILITIES:
            has = processors.closed(has | {name})
    text = ",".join(filter(None, (base.features, *features)))
    lanes = width if "width" in given else _width(has)
    here = host()
    l1, l2, l3 = here.l1, here.l2, here.l3
    return Machine(base.triple, base.cpu, text, lanes, frozenset(has), l1, l2, l3, here.cores, threads)


def parse_target(text: str) -> Machine:
    """The machine of a target text such as `llvm{cpu=znver4, features=+avx512f,-fma, width=8, threads=2}`.

    Raises E0603 where the text is no such list, and as `machine` does.
    """
    name, brace, rest = text.strip().partition("{")
    if name.strip() != "llvm" or (brace and not rest.endswith("}")):
        raise error("E0603", f"`{text}` is no target of the LLVM backend", help="write `llvm{cpu=native, threads=2}`")
    options: dict[str, str] = {}
    last = ""
    for item in filter(None, (part.strip() for part in rest.removesuffix("}").split(","))):
        key, equals, value = item.partition("=")
        if equals and key.strip() in options:
            raise error("E0603", f"the option `{key.strip()}` is given twice")
        if equals:
            last = key.strip()
            options[last] = value.strip()
        elif last == "features":
            options[last] += f",{item}"
        else:
            raise error("E0603", f"`{item}` is no option: a name and `=` are missing")
    return machine(options)


def physical_cores() -> int:
    """Physical cores this process may run on; hardware threads of one core count once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    seen: set[str] = set()
    for cpu in usable:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        seen.add(_read(siblings) or str(cpu))
    return max(1, len(seen))


def cache_sizes() -> tuple[int, int, int]:
    """Bytes of first-level data, second- and third-level cache; usual sizes where the system does not say."""
    sizes = {1: 32 << 10, 2: 1 << 20, 3: 16 << 20}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        unit = {"K": 10, "M": 20, "G": 30}.get(size[-1:], 0)
        digits = size[:-1] if unit else size
        if level in ("1", "2", "3") and digits.isdigit() and kind in ("Data", "Unified") and int(digits):
            sizes[int(level)] = int(digits) << unit
    return sizes[1], sizes[2], sizes[3]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _width(has: Iterable[str]) -> int:
    held = set(has)
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= held:
        return 16
    return 8 if "avx" in held else 4


def _checked(mistakes: list[Diagnostic], rule: Callable[..., T], *arguments: object) -> T | None:
    try:
        return rule(*arguments)
    except PathcError as mistake:
        mistakes.extend(mistake.diagnostics)
        return None


def _by_name(name: str, place: Place) -> Machine:
    x86 = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "sse": "x86-64", "generic": "x86-64"}.get(name, name)
    if name == "native" or (name == host().cpu and name not in processors.X86_64):
        return host()
    if name == "aarch64" or (name in processors.AARCH64 and name != "generic"):
        arch, cpu, table = "aarch64", "generic" if name == "aarch64" else name, processors.AARCH64
    elif x86 in processors.X86_64:
        arch, cpu, table = "x86_64", x86, processors.X86_64
    else:
        known = (*PRESETS, *processors.X86_64, *processors.AARCH64)
        hint = did_you_mean(name, known)
        raise error("E0601", f"no processor is called `{name}`", place, help=hint or f"presets: {', '.join(PRESETS)}")
    has = frozenset(processors.closed(set(table[cpu].split())))
    triple = host().triple if arch == host().arch else _LINUX[arch]
    return Machine(triple, cpu, "", _width(has), has)


def _features(text: str, base: Machine, place: Place) -> tuple[str, ...]:
    features = tuple(filter(None, text.replace(",", " ").split()))
    known = _known_features(base.arch)
    for feature in features:
        if feature[0] not in "+-":
            raise error(
                "E0602", f"`{feature}` must say whether it is switched on or off", place, help=f"write `+{feature}`"
            )
        if feature[1:] not in known:
            raise error(
                "E0602",
                f"{base.arch} has no feature `{feature[1:]}`",
                place,
                help=did_you_mean(feature[1:], known) or f"kernels ask for {', '.join(sorted(_asked(base.arch)))}",
            )
    return features


def _asked(arch: str) -> frozenset[str]:
    neon = {name for name in processors.CAPABILITIES if "neon" in processors.closed({name})}
    return frozenset(neon if arch == "aarch64" else processors.CAPABILITIES - neon)


@cache
def _known_features(arch: str) -> frozenset[str]:
    named = _host_features() if arch == host().arch else dict[str, bool]()
    return _asked(arch).union(named)


def _host_features() -> dict[str, bool]:
    import llvmlite.binding as llvm

    return dict(llvm.get_host_cpu_features())


def _number(name: str, text: str, allowed: Container[int], place: Place) -> int:
    if text.isdecimal() and len(text) < 10 and int(text) in allowed:
        return int(text)
    choices = "4, 8 or 16 float32 lanes" if name == "width" else f"a number from 0 (automatic) to {_MAX_THREADS}"
    raise error("E0603", f"`{name}` cannot be `{text}`", place, help=f"it is {choices}")
