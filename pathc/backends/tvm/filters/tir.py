"""Operations on planes to TIR: the TVMScript text of each.

Loop variables: b sample, k block, i source and r target of it, n channel of a list, c channel, h row, o j w column
(which block of threads, which of a thread's, which thread), p position, t u row and column of a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pathc.backends.tvm.expressions import activated, number, precedes
from pathc.backends.tvm.filters.pack import Packed, parameters
from pathc.backends.tvm.filters.plan import Across, Affine, Blend, Blocks, FilterPlan, Lists, Op, Planes, Pool, reads
from pathc.backends.tvm.filters.tiles import Tile, padded
from pathc.backends.tvm.tir import Argument, Function, Loops, Role, head, nest
from pathc.ir.filters import Geometry

Tiles = dict[str, Tile]
_ROLES: dict[str, Role] = {"x": "input", "y": "output", "z": "output"}
_UNROLLED, _UNROLLED_LISTS = 1024, 256
"""Multiply-adds that are written out at most; those of lists ask for bounds."""


def functions(plan: FilterPlan, tiles: Tiles, gpu: bool) -> tuple[Function, ...]:
    """A function for every operation."""
    return tuple(_function(plan, op, tiles.get(op.name, Tile()), gpu) for op in plan.ops)


def unrolled(op: Blocks | Lists, tile: Tile) -> tuple[bool, bool]:
    """Whether the rows of a filter are written out, and whether its columns are."""
    rows, columns = op.geometry.kernel
    most = _UNROLLED if isinstance(op, Blocks) else _UNROLLED_LISTS
    return rows * columns * tile.sums <= most, columns * tile.sums <= most


def _function(plan: FilterPlan, op: Op, tile: Tile, gpu: bool) -> Function:
    packed = parameters(op, tile)
    arrays = dict.fromkeys(planes.array for planes in (*reads(op), op.dst))
    taken = [Argument(a, _ROLES.get(a, "buffer"), a, ("batch", str(plan.floats(a)))) for a in arrays]
    for name, array in packed.items():
        taken.append(Argument(name, "parameter", name, tuple(map(str, array.shape)), str(array.dtype)))
    floats = {array: plan.floats(array) for array in arrays}
    lines = [*head(op.name, taken, ()), *(f"    {line}" for line in _Body(op, tile, gpu, packed, floats).lines())]
    return Function(op.name, "\n".join(lines) + "\n", tuple(taken))


class _Body:
    """The blocks of one operation as lines of text."""

    def __init__(self, op: Op, tile: Tile, gpu: bool, packed: Packed, floats: Mapping[str, int]) -> None:
        self.op, self.tile, self.gpu, self.packed, self.floats = op, tile, gpu, packed, floats

    def lines(self) -> list[str]:
        """The whole body."""
        match self.op:
            case Blocks():
                return self._blocks(self.op)
            case Lists():
                return self._lists(self.op)
            case Blend():
                return self._over_positions(self._stored("vc", "vp", "T.float32(0)"))
            case Pool():
                return self._pool(self.op)
            case Across(call=call) if call.name == "softmax":
                return self._softmax(self.op)
            case Across():
                return self._winners(self.op)

    def _blocks(self, op: Blocks) -> list[str]:
        name, tile, g = op.name, self.tile, op.geometry
        count, fan_in, fan_rows, fan_columns, fan_out = self.packed[f"{name}_w"].shape
        down, outer = padded(op.dst.rows, tile.down), -(-op.dst.columns // tile.across)
        rows, columns = _seen(g, 0, down), _seen(g, 1, outer * tile.across)
        weights = f"{count}, {fan_in}, {fan_rows}, {fan_columns}, {fan_out}"
        lines = [
            self._alloc("in", f"batch, {count}, {fan_in}, {rows}, {columns}"),
            self._alloc("v", weights),
            self._alloc("acc", f"batch, {count}, {fan_out}, {down}, {outer}, {tile.columns}, {tile.wide}"),
        ]
        source = f"{name}_s[vk, vi]"
        known = [] if fan_in == op.sources.shape[1] else [f"{source} >= 0"]
        read = self._source(source, "vh", "vw", (rows - 1, columns - 1), known)
        loops: Loops = [
            ("b", "batch", "S"),
            ("k", count, "S"),
            ("i", fan_in, "S"),
            ("h", rows, "S"),
            ("w", columns, "S"),
        ]
        lines += self._nest("stage", loops, [f"{name}_in[vb, vk, vi, vh, vw] = {read}"])
        taps: Loops = [("t", fan_rows, "S"), ("u", fan_columns, "S")]
        loops = [("k", count, "S"), ("i", fan_in, "S"), *taps, ("r", fan_out, "S")]
        lines += self._nest("weights", loops, [f"{name}_v[vk, vi, vt, vu, vr] = {name}_w[vk, vi, vt, vu, vr]"])
        sum_, column = f"{name}_acc[vb, vk, vr, vh, vo, vj, vw]", self._column()
        own: Loops = [("b", "batch", "S"), ("k", count, "S"), ("r", fan_out, "S"), ("h", down, "S"),
                      ("o", outer, "S"), ("j", tile.columns, "S"), ("w", tile.wide, "S")]  # fmt: skip
        terms: Loops = [("i", fan_in, "R"), ("t", fan_rows, "R"), ("u", fan_columns, "R")]
        seen = f"{_strided('vh', 'vt', g, 0)}, {_strided(column, 'vu', g, 1)}"
        product = f"{name}_v[vk, vi, vt, vu, vr] * {name}_in[vb, vk, vi, {seen}]"
        body = ["with T.init():", f"    {sum_} = T.float32(0)", f"{sum_} = {sum_} + {product}"]
        lines += self._nest("sum", [*own, *terms], body)
        guards = [f"vr < {op.targets.shape[1]}"] if fan_out > op.targets.shape[1] else []
        return lines + self._nest("store", own, self._placed("vk, vr", "vh", column, sum_, guards))

    def _lists(self, op: Lists) -> list[str]:
        """A loop over the edges of a channel, as long as its list is, around the rows of a thread."""
        name, tile, g, gpu = op.name, self.tile, op.geometry, self.gpu
        count, outer = len(op.targets), -(-op.dst.columns // tile.wide)
        down = padded(op.dst.rows, tile.down)
        rows, columns = _seen(g, 0, down), _seen(g, 1, outer * tile.wide)
        last = rows - 1, columns - 1
        lines = [self._alloc("acc", f"batch, {count}, {down}, {outer}, {tile.wide}")]
        # The processor reads planes with zeros around them, whole vectors of columns at a time.
        lane, across = ("vw", "vw") if gpu else ("w", f"0:{tile.wide}")
        edge, row = f"{name}_p[vn] + e", f"(vh * {tile.rows} + j)"
        y, x = _strided(row, "t", g, 0), _strided(f"(vo * {tile.wide} + {lane})", "u", g, 1)
        source = f"{name}_i[{edge}]"
        if gpu:
            value, read = self._source(source, y, x, last, []), f"{op.src.array}[vb, 0:{self.floats[op.src.array]}]"
        else:
            lines.append(self._alloc("in", f"batch, {op.src.channels}, {rows}, {columns}"))
            loops: Loops = [("b", "batch", "S"), ("c", op.src.channels, "S"), ("h", rows, "S"), ("w", columns, "S")]
            staged = f"{name}_in[vb, vc, vh, vw] = {self._source('vc', 'vh', 'vw', last, [])}"
            lines += self._nest("stage", loops, [staged])
            value = f"{name}_in[vb, {source}, {y}, {x}]"
            read = f"{name}_in[vb, 0:{op.src.channels}, 0:{rows}, 0:{columns}]"
        sum_ = f"{name}_acc[vb, vn, {row}, vo, {lane}]"
        whole = [f"{name}_{k}[{', '.join(f'0:{n}' for n in self.packed[f'{name}_{k}'].shape)}]" for k in "wip"]
        # Without these TVM takes sums for something that is read, too.
        body = [f"T.reads({', '.join([read, *whole])})"]
        body.append(f"T.writes({name}_acc[vb, vn, vh * {tile.rows}:vh * {tile.rows} + {tile.rows}, vo, {across}])")
        every = [f"for j in T.unroll({tile.rows}):", *([] if gpu else [f"    for w in T.vectorized({tile.wide}):"])]
        inside = "    " * len(every)
        kinds = ["unroll" if short else "serial" for short in unrolled(op, tile)]
        body += [*every, f"{inside}{sum_} = T.float32(0)"]
        body.append(f"for e in range({name}_p[vn + 1] - {name}_p[vn]):")
        body.append(f"    for t in T.{kinds[0]}({g.kernel[0]}):")
        body.append(f"        for u in T.{kinds[1]}({g.kernel[1]}):")
        added = f"{inside}{sum_} = {sum_} + {name}_w[{edge}, t, u] * {value}"
        body += [f"            {line}" for line in (*every, added)]
        sums: Loops = [("b", "batch", "S"), ("n", count, "S"), ("h", down // tile.rows, "S"), ("o", outer, "S")]
        lines += self._nest("sum", [*sums, ("w", tile.wide, "S")] if gpu else sums, body)
        own: Loops = [*sums[:2], ("h", down, "S"), sums[3], ("w", tile.wide, "S")]
        column = f"(vo * {tile.wide} + vw)"
        return lines + self._nest("store", own, self._placed("vn", "vh", column, f"{name}_acc[vb, vn, vh, vo, vw]", []))

    def _pool(self, op: Pool) -> list[str]:
        name, (rows, columns) = op.name, op.window
        own: Loops = [
            ("b", "batch", "S"),
            ("c", op.dst.channels, "S"),
            ("h", op.dst.rows, "S"),
            ("w", op.dst.columns, "S"),
        ]
        y = _sum(_times("vh", op.stride[0]), "vt" if rows > 1 else "", op.first[0])
        x = _sum(_times("vw", op.stride[1]), "vu" if columns > 1 else "", op.first[1])
        seen = _at(op.src, "vc", f"({y}) * {op.src.columns} + {x}")
        position = f"vh * {op.dst.columns} + vw"
        if rows * columns == 1:
            return self._nest("store", own, self._stored("vc", position, seen))
        result = f"{name}_acc[vb, vc, vh, vw]"
        start, found = "T.float32(0)", f"{result} + {seen}"
        if op.largest:
            start = number(float("-inf"))
            found = f"T.Select(T.Or({seen} > {result}, T.isnan({seen})), {seen}, {result})"
        lines = [self._alloc("acc", f"batch, {op.dst.channels}, {op.dst.rows}, {op.dst.columns}")]
        body = ["with T.init():", f"    {result} = {start}", f"{result} = {found}"]
        lines += self._nest("sum", [*own, ("t", rows, "R"), ("u", columns, "R")], body)
        value = result if op.largest else f"{result} * {number(1 / (rows * columns))}"
        return lines + self._nest("store", own, self._stored("vc", position, value))

    def _softmax(self, op: Across) -> list[str]:
        name, channels = op.name, op.src.channels
        most, total, value = f"{name}_most[vb, vp]", f"{name}_total[vb, vp]", _at(op.src, "vc", "vp")
        lines = [self._alloc(part, f"batch, {op.src.positions}") for part in ("most", "total")]
        loops: Loops = [("b", "batch", "S"), ("p", op.src.positions, "S"), ("c", channels, "R")]
        body = ["with T.init():", f"    {most} = T.min_value('float32')", f"{most} = T.max({most}, {value})"]
        lines += self._nest("most", loops, body)
        body = ["with T.init():", f"    {total} = T.float32(0)", f"{total} = {total} + T.exp({value} - {most})"]
        lines += self._nest("total", loops, body)
        return lines + self._over_positions(self._stored("vc", "vp", f"T.exp({value} - {most}) / {total}"))

    def _winners(self, op: Across) -> list[str]:
        """A channel wins a position if fewer than k come before it there."""
        channels, positions = op.src.channels, op.src.positions
        ahead, mine, other = f"{op.name}_ahead[vb, vc, vp]", _at(op.src, "vc", "vp"), _at(op.src, "vd", "vp")
        lines = [self._alloc("ahead", f"batch, {channels}, {positions}", "int32")]
        loops: Loops = [("b", "batch", "S"), ("c", channels, "S"), ("p", positions, "S"), ("d", channels, "R")]
        counted = f"{ahead} = {ahead} + T.if_then_else({precedes(other, mine, 'vd < vc')}, 1, 0)"
        lines += self._nest("ahead", loops, ["with T.init():", f"    {ahead} = 0", counted])
        value = f"T.if_then_else({ahead} < {op.call.get('k')}, {mine}, T.float32(0))"
        return lines + self._over_positions(self._stored("vc", "vp", value))

    def _over_positions(self, body: Sequence[str]) -> list[str]:
        """A block over all channels and positions."""
        dst = self.op.end.terms[0][0] if isinstance(self.op, Blend) and self.op.end.terms else self.op.dst
        return self._nest("store", [("b", "batch", "S"), ("c", dst.channels, "S"), ("p", dst.positions, "S")], body)

    def _nest(self, name: str, loops: Loops, body: Sequence[str]) -> list[str]:
        return nest(f"{self.op.name}_{name}", loops, body)

    def _alloc(self, what: str, shape: str, dtype: str = "float32") -> str:
        return f'{self.op.name}_{what} = T.sblock_alloc_buffer(({shape},), "{dtype}")'

    def _source(self, channel: str, row: str, column: str, last: tuple[int, int], known: list[str]) -> str:
        """What a filter sees at a row and a column counted from the zeros in front; `last` are the largest of them."""
        assert isinstance(self.op, Blocks | Lists)
        src, g, where = self.op.src, self.op.geometry, list(known)
        for at, front, size, end in ((row, g.front[0], src.rows, last[0]), (column, g.front[1], src.columns, last[1])):
            if front:
                where.append(f"{at} >= {front}")
            if end - front >= size:
                where.append(f"{at} < {size + front}")
        read = _at(src, channel, f"({_sum(row, '', -g.front[0])}) * {src.columns} + {_sum(column, '', -g.front[1])}")
        return f"T.if_then_else({_all(where)}, {read}, T.float32(0))" if where else read

    def _column(self) -> str:
        tile = self.tile
        outer = f"(vo * {tile.columns} + vj)" if tile.columns > 1 else "vo"
        return f"({outer} * {tile.wide} + vw)"

    def _placed(self, channel: str, row: str, column: str, value: str, guards: list[str]) -> list[str]:
        """Store sums of filters, unless they fill up a tile."""
        dst, tile, guards = self.op.dst, self.tile, list(guards)
        if dst.rows % tile.down:
            guards.append(f"{row} < {dst.rows}")
        if dst.columns % tile.across:
            guards.append(f"{column} < {dst.columns}")
        lines = self._stored(channel, f"{row} * {dst.columns} + {column}", value)
        return [f"if {_all(guards)}:", *(f"    {line}" for line in lines)] if guards else lines

    def _stored(self, channel: str, position: str, value: str) -> list[str]:
        """What happens to a value at its end, and where it is stored; `channel` counts those of the operation."""
        op, end = self.op, self.op.end
        named = f"{op.name}_o[{channel}]" if f"{op.name}_o" in self.packed else channel
        for planes, scale in end.terms:
            read = _at(planes, named, position)
            read = read if scale == 1.0 else f"{number(scale)} * {read}"
            value = read if value == "T.float32(0)" else f"({value} + {read})"
        numbered = 0
        for function in end.functions:
            if isinstance(function, Affine):
                factor = f"{op.name}_m{numbered}"
                value = f"{value} * {factor}[{channel}]" if factor in self.packed else value
                value = f"({value} + {op.name}_b{numbered}[{channel}])"
                numbered += 1
            else:
                value = activated(function, value)
        stored = f"{op.name}_t[{channel}]" if f"{op.name}_t" in self.packed else channel
        return [f"{_at(op.dst, stored, position)} = {value}"]


def _at(planes: Planes, channel: str, position: str) -> str:
    """A number of planes for the sample."""
    start = f"{planes.at} + " if planes.at else ""
    return f"{planes.array}[vb, {start}({channel}) * {planes.positions} + {position}]"


def _seen(geometry: Geometry, axis: int, size: int) -> int:
    """Rows or columns that so many neighbouring ones of the result see."""
    return (size - 1) * geometry.stride[axis] + (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1


def _strided(place: str, tap: str, geometry: Geometry, axis: int) -> str:
    """Where a tap looks, for a row or column of the result."""
    return _sum(_times(place, geometry.stride[axis]), _times(tap, geometry.dilation[axis]), 0)


def _times(value: str, factor: int) -> str:
    return value if factor == 1 else f"{value} * {factor}"


def _sum(first: str, second: str, number: int) -> str:
    parts = [part for part in (first, second) if part]
    return " + ".join(parts) + (f" + {number}" if number > 0 else f" - {-number}" if number else "")


def _all(conditions: Sequence[str]) -> str:
    """All conditions at once."""
    found = conditions[0]
    for condition in conditions[1:]:
        found = f"T.And({found}, {condition})"
    return found
