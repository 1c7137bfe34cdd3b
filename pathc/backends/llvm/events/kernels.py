"""Kernels of events: lists of the units that send, and what they add to sums."""

from __future__ import annotations

from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.machine import Machine

F64, I32 = "double", "i32"
_REGISTERS = {16: 6, 32: 12}
"""Vectors of sums that stay in registers."""
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def emit_list(name: str, units: int, samples: int) -> Function:
    """The kernel `void name(ptr row, ptr units, ptr values, ptr count, ptr counters, double shift)`.

    Lists the units of a row that are not zero, 32-bit numbers and float32 values, and says how many; adds that number,
    and how many are not zero, to two 64-bit counters. With `samples` > 0 a unit is listed if systematic samples of the
    magnitudes hit it, `shift` in [0, 1) being where they begin, as `pathc.ir.compress.online` defines; rows that hold
    what is not finite are not sampled.
    """
    pointers = ("row", "units", "values", "count", "counters")
    f = Function(name, (*(("ptr", each) for each in pointers), (F64, "shift")))
    f.store(I64, "0", "%count", 8)
    active = f.offset("%counters", 1, I64)
    if not samples:
        _plain(f, units)
        total = f.load(I64, "%count", 8)
        f.store(I64, f.op("add", I64, f.load(I64, active, 8), total), active, 8)
    else:
        with f.loop(units, [(F64, "0.0"), (I64, "0")]) as loop:
            value = _load(f, loop.index)
            magnitude = f.call(F64, "llvm.fabs.f64", [(F64, f.assign(f"fpext float {value} to double"))])
            some = f.assign(f"fcmp une float {value}, 0.0")
            count = f.op("add", I64, loop.carried[1], f.assign(f"zext i1 {some} to i64"))
            loop.following = [f.op("fadd", F64, loop.carried[0], magnitude), count]
        norm, nonzero = loop.results
        f.store(I64, f.op("add", I64, f.load(I64, active, 8), nonzero), active, 8)
        above = f.assign(f"fcmp ogt double {norm}, 0.0")
        finite = f.op("and", "i1", above, f.assign(f"fcmp olt double {norm}, 0x7FF0000000000000"))
        with repeated(f, f.assign(f"zext i1 {finite} to i64")):
            _sampled(f, units, samples, norm)
        # A row of zeros sends nothing either way.
        with repeated(f, f.assign(f"select i1 {finite}, i64 0, i64 1")):
            _plain(f, units)
    used = f.op("add", I64, f.load(I64, "%counters", 8), f.load(I64, "%count", 8))
    f.store(I64, used, "%counters", 8)
    return f


def _load(f: Function, index: str) -> str:
    return f.load(F32, f.offset("%row", index))


def _append(f: Function, count: str, unit: str, value: str, some: str) -> str:
    """Write a unit behind the list; how long the list is then, one longer only if `some`."""
    f.store(I32, f.assign(f"trunc i64 {unit} to i32"), f.offset("%units", count, I32))
    f.store(F32, value, f.offset("%values", count))
    return f.op("add", I64, count, f.assign(f"zext i1 {some} to i64"))


def _plain(f: Function, units: int) -> None:
    """List what is not zero."""
    with f.loop(units, [(I64, "0")]) as loop:
        value = _load(f, loop.index)
        some = f.assign(f"fcmp une float {value}, 0.0")
        loop.following = [_append(f, loop.carried[0], loop.index, value, some)]
    f.store(I64, loop.results[0], "%count", 8)


def _sampled(f: Function, units: int, samples: int, norm: str) -> None:
    """List what samples at equal distances hit: differences of a rounded cumulative sum."""
    number = f"{float(samples):e}"
    density, each = f.op("fdiv", F64, number, norm), f.op("fdiv", F64, norm, number)
    with f.loop(units, [(F64, "0.0"), (I64, "0"), (I64, "0")]) as loop:
        upto, before, count = loop.carried
        value = f.assign(f"fpext float {_load(f, loop.index)} to double")
        upto = f.op("fadd", F64, upto, f.call(F64, "llvm.fabs.f64", [(F64, value)]))
        place = f.op("fmul", F64, upto, density)
        inside = f.assign(f"fcmp olt double {place}, {number}")
        place = f.assign(f"select i1 {inside}, double {place}, double {number}")
        after = _ceiling(f, f.op("fsub", F64, place, "%shift"))
        hits = f.op("sub", I64, after, before)
        size = f.op("fmul", F64, f.assign(f"sitofp i64 {hits} to double"), each)
        signed = f.call(F64, "llvm.copysign.f64", [(F64, size), (F64, value)])
        some = f.assign(f"icmp ne i64 {hits}, 0")
        single = f.assign(f"fptrunc double {signed} to float")
        loop.following = [upto, after, _append(f, count, loop.index, single, some)]
    f.store(I64, loop.results[2], "%count", 8)


def _ceiling(f: Function, value: str) -> str:
    """The least integer that is not below a number above -1."""
    whole = f.assign(f"fptosi double {value} to i64")
    below = f.assign(f"fcmp olt double {f.assign(f'sitofp i64 {whole} to double')}, {value}")
    return f.op("add", I64, whole, f.assign(f"zext i1 {below} to i64"))


def emit_matrix(name: str, machine: Machine, length: int) -> Function:
    """The kernel `void name(ptr units, ptr values, ptr count, ptr matrix, ptr sums)`: rows of a matrix of `length`.

    sums += values[i] * matrix[units[i]], some vectors of sums after the other in registers.
    """
    f = Function(name, tuple(("ptr", each) for each in ("units", "values", "count", "matrix", "sums")))
    lanes, kind = machine.width, vector(machine.width)
    count = f.load(I64, "%count", 8)
    most = _REGISTERS[machine.registers] * lanes
    some = f.assign(f"icmp ne i64 {count}, 0")
    with repeated(f, f.assign(f"zext i1 {some} to i64")):
        for start in range(0, length, most):
            own = range(start, min(start + most, length), lanes)
            sums = [f.load(kind, f.offset("%sums", at), 4 * lanes) for at in own]
            with f.loop(count, [(kind, value) for value in sums]) as loop:
                row, value = _event(f, loop.index, lanes)
                base = f.offset("%matrix", f.op("mul", I64, row, str(length)))
                loop.following = [
                    f.fma(lanes, value, f.load(kind, f.offset(base, at), 4 * lanes), total)
                    for at, total in zip(own, loop.carried, strict=True)
                ]
            for at, total in zip(own, loop.results, strict=True):
                f.store(kind, total, f.offset("%sums", at), 4 * lanes)
    return f


def _event(f: Function, index: str, lanes: int) -> tuple[str, str]:
    """The unit of an event, and its value in all lanes."""
    unit = f.assign(f"zext i32 {f.load(I32, f.offset('%units', index, I32))} to i64")
    return unit, f.broadcast(lanes, f.load(F32, f.offset("%values", index)))


def emit_segments(name: str, machine: Machine, length: int, *, single: bool) -> Function:
    """The kernel `void name(ptr units, ptr values, ptr count, ptr starts, ptr places, ptr weights, ptr sums)`.

    Every event adds its segments of `length` weights to the sums at their places, 32-bit numbers; `single` says that
    every unit has one.
    """
    names = ("units", "values", "count", "starts", "places", "weights", "sums")
    f = Function(name, tuple(("ptr", each) for each in names))
    lanes, kind = machine.width, vector(machine.width)

    def segment(number: str, value: str) -> None:
        place = f.assign(f"zext i32 {f.load(I32, f.offset('%places', number, I32))} to i64")
        to, base = f.offset("%sums", place), f.offset("%weights", f.op("mul", I64, number, str(length)))
        for at in range(0, length, lanes):
            total, weight = (f.load(kind, f.offset(each, at), 4 * lanes) for each in (to, base))
            f.store(kind, f.fma(lanes, value, weight, total), f.offset(to, at), 4 * lanes)

    with repeated(f, f.load(I64, "%count", 8)) as index:
        unit, value = _event(f, index, lanes)
        if single:
            segment(unit, value)
        else:
            first, last = _range(f, unit)
            with repeated(f, f.op("sub", I64, last, first)) as number:
                segment(f.op("add", I64, first, number), value)
    return f


def _range(f: Function, unit: str) -> tuple[str, str]:
    """Where the entries of a unit begin and end."""
    begin = f.offset("%starts", unit, I32)
    ends = [f.load(I32, f.offset(begin, k, I32)) for k in (0, 1)]
    first, last = (f.assign(f"zext i32 {end} to i64") for end in ends)
    return first, last


def emit_edges(name: str) -> Function:
    """The kernel `void name(ptr units, ptr values, ptr count, ptr starts, ptr targets, ptr factors, ptr sums)`.

    Every event adds its value times a factor to single sums, 32-bit numbers.
    """
    names = ("units", "values", "count", "starts", "targets", "factors", "sums")
    f = Function(name, tuple(("ptr", each) for each in names))
    with repeated(f, f.load(I64, "%count", 8)) as index:
        unit, value = _event(f, index, 1)
        first, last = _range(f, unit)
        with repeated(f, f.op("sub", I64, last, first)) as number:
            edge = f.op("add", I64, first, number)
            target = f.assign(f"zext i32 {f.load(I32, f.offset('%targets', edge, I32))} to i64")
            at = f.offset("%sums", target)
            product = f.op("fmul", F32, value, f.load(F32, f.offset("%factors", edge)))
            f.store(F32, f.op("fadd", F32, f.load(F32, at), product), at)
    return f


def shift_of(f: Function, key: int, row: str) -> str:
    """Where the samples of a row begin, a double in [0, 1): the hash of seed and row, `key` being that of the seed."""
    own = _mixed(f, f.op("xor", I64, str(_signed(key)), row))
    state = _mixed(f, _mixed(f, own))
    number = f.assign(f"uitofp i64 {f.op('lshr', I64, state, '11')} to double")
    return f.op("fmul", F64, number, "0x3CA0000000000000")


def _mixed(f: Function, state: str) -> str:
    """One step of the hash of `pathc.ir.generators.hashing`."""
    state = f.op("add", I64, state, str(_signed(_STEP)))
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        state = f.op("xor", I64, state, f.op("lshr", I64, state, str(shift)))
        state = f.op("mul", I64, state, str(_signed(factor)))
    return f.op("xor", I64, state, f.op("lshr", I64, state, "31"))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
