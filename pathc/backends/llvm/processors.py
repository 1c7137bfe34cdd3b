"""Processors by name and the vector capabilities they bring, in LLVM's spelling.

LLVM takes an unknown processor for the plainest one and goes on, so names are checked here first.
"""

from __future__ import annotations

IMPLIES: dict[str, tuple[str, ...]] = {
    "avx": ("sse4.2",),
    "f16c": ("avx",),
    "fma": ("avx",),
    "avx2": ("avx",),
    "avxvnni": ("avx2",),
    "avx512f": ("avx2", "f16c", "fma"),
    "avx512bw": ("avx512f",),
    "avx512dq": ("avx512f",),
    "avx512vl": ("avx512f",),
    "avx512vbmi": ("avx512bw",),
    "avx512vnni": ("avx512f",),
    "avx512bf16": ("avx512bw",),
    "avx512fp16": ("avx512bw", "avx512dq", "avx512vl"),
    "amx-tile": ("avx512bw", "avx512dq", "avx512vl"),
    "amx-int8": ("amx-tile",),
    "amx-bf16": ("amx-tile",),
    "dotprod": ("neon",),
    "bf16": ("neon",),
    "i8mm": ("neon",),
    "fullfp16": ("neon",),
}
"""What a capability brings with it; the keys and values are all the capabilities kernels ask for."""

CAPABILITIES = frozenset(IMPLIES) | {base for bases in IMPLIES.values() for base in bases}

_V3 = "avx2 fma f16c"
_V4 = f"{_V3} avx512f avx512bw avx512dq avx512vl"
_ICE = f"{_V4} avx512vbmi avx512vnni"

X86_64: dict[str, str] = {
    **dict.fromkeys(
        (
            *("x86-64", "nocona", "core2", "penryn", "k8", "opteron", "athlon64", "athlon-fx", "k8-sse3"),
            *("opteron-sse3", "athlon64-sse3", "amdfam10", "barcelona", "btver1", "bonnell", "atom"),
        ),
        "",
    ),
    **dict.fromkeys(
        (
            *("x86-64-v2", "nehalem", "corei7", "westmere", "silvermont", "slm"),
            *("goldmont", "goldmont-plus", "tremont"),
        ),
        "sse4.2",
    ),
    **dict.fromkeys(("sandybridge", "corei7-avx", "bdver1"), "avx"),
    **dict.fromkeys(("ivybridge", "core-avx-i", "btver2"), "avx f16c"),
    **dict.fromkeys(("bdver2", "bdver3"), "avx fma f16c"),
    **dict.fromkeys(
        ("x86-64-v3", "haswell", "core-avx2", "broadwell", "skylake", "bdver4", "znver1", "znver2", "znver3"), _V3
    ),
    **dict.fromkeys(
        (
            *("alderlake", "raptorlake", "meteorlake", "gracemont", "sierraforest", "grandridge"),
            *("arrowlake", "arrowlake-s", "lunarlake", "pantherlake", "wildcatlake", "clearwaterforest"),
        ),
        f"{_V3} avxvnni",
    ),
    **dict.fromkeys(("x86-64-v4", "skylake-avx512", "skx"), _V4),
    "cannonlake": f"{_V4} avx512vbmi",
    "cascadelake": f"{_V4} avx512vnni",
    "cooperlake": f"{_V4} avx512vnni avx512bf16",
    **dict.fromkeys(("icelake-client", "icelake-server", "tigerlake", "rocketlake"), _ICE),
    "znver4": f"{_ICE} avx512bf16",
    "znver5": f"{_ICE} avx512bf16 avxvnni",
    **dict.fromkeys(
        ("sapphirerapids", "emeraldrapids", "graniterapids", "graniterapids-d"),
        f"{_ICE} avx512bf16 avx512fp16 avxvnni amx-int8 amx-bf16",
    ),
}
"""x86-64 processors and their capabilities (the rest follows from `IMPLIES`)."""

AARCH64: dict[str, str] = {
    **dict.fromkeys(("generic", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a73", "thunderx2t99"), "neon"),
    **dict.fromkeys(
        (
            *("cortex-a55", "cortex-a75", "cortex-a76", "cortex-a77", "cortex-a78", "cortex-x1"),
            *("neoverse-e1", "neoverse-n1", "apple-a13", "apple-m1", "ampere1"),
        ),
        "neon dotprod fullfp16",
    ),
    **dict.fromkeys(
        (
            *("neoverse-v1", "neoverse-n2", "neoverse-v2", "neoverse-n3", "neoverse-v3", "grace"),
            *("cortex-a510", "cortex-a710", "cortex-x2", "apple-m2", "apple-m3", "apple-m4"),
        ),
        "neon dotprod fullfp16 bf16 i8mm",
    ),
    "a64fx": "neon fullfp16",
}
"""AArch64 processors and their capabilities; scalable vectors are not used."""


def closed(capabilities: set[str]) -> set[str]:
    """The capabilities together with all they imply."""
    pending, result = list(capabilities), set[str]()
    while pending:
        name = pending.pop()
        if name not in result:
            result.add(name)
            pending.extend(IMPLIES.get(name, ()))
    return result


def without(capabilities: set[str], name: str) -> set[str]:
    """The capabilities left when `name`, and all that needs it, is taken away."""
    return {held for held in capabilities if name not in closed({held})}
