"""Statements `paths`, `dense` and `skip` to lines."""

from __future__ import annotations

from pathc.frontend import ast
from pathc.frontend.attributes import GENERATOR_OPTIONS, LINE_ATTRIBUTES, collect, option_of
from pathc.frontend.draft import Draft
from pathc.frontend.scope import evaluate
from pathc.frontend.values import call_value, option_value, show_number
from pathc.ir.catalogue import MAX_DIMENSION, Kind, canonical, find, options_of
from pathc.ir.graph import Axis, Line, Visit
from pathc.ir.types import Call, Value, Word
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, did_you_mean, error

Attributes = dict[str, ast.Attribute]
_Drawn = tuple[int, tuple[Axis, ...]]

_FROM_MIRROR = ("count", "sequence", *GENERATOR_OPTIONS)


def lower_line(draft: Draft, node: ast.Line) -> Line | None:
    """The line of a statement, or None after reporting mistakes."""
    known = len(draft.diagnostics)
    attributes = collect(draft, node.attributes, LINE_ATTRIBUTES, node.kind)
    _check_chain(draft, node)
    values = {
        name: draft.attempt(
            lambda a=attribute: option_value(option_of(LINE_ATTRIBUTES, a.name.text), a.value, draft.scope)
        )
        for name, attribute in attributes.items()
        if name not in ("sequence", "scramble", "sign", "mirror")
    }
    mirror = draft.attempt(lambda: _mirror(draft, node, attributes)) if "mirror" in attributes else None
    if "mirror" in attributes:
        line = _mirrored(draft, node, attributes, mirror)
    else:
        line = _own(draft, node, attributes, values, known)
    if line is None or _errors_since(draft, known):
        return None
    scale = values.get("scale")
    if scale is None:
        draft.default(node.name.span, f"{node.kind} {node.name.text}", "scale", 1, "none is given")
    return Line(
        name=node.name.text,
        kind=node.kind,
        visits=line.visits,
        count=line.count,
        generator=line.generator,
        sign=line.sign,
        mirror=line.mirror,
        tied=_tied(draft, node, attributes, values),
        scale=float(scale) if isinstance(scale, int | float) else 1.0,
        doc=node.doc,
        loc=node.span.place,
    )


def _errors_since(draft: Draft, known: int) -> bool:
    return any(d.severity is Severity.ERROR for d in draft.diagnostics[known:])


def _check_chain(draft: Draft, node: ast.Line) -> None:
    if len(node.visits) < 2:
        help = "a line joins stations: `a -> b`"
        draft.report("E0222", f"`{node.name.text}` runs through one station only", node.name.span, help=help)
    if node.kind == "skip" and len(node.visits) > 2:
        help = "draw one skip per pair of stations"
        draft.report("E0222", "a skip joins two stations", node.visits[2].span, help=help)
    unknown = {v.station.text: v.station for v in reversed(node.visits) if v.station.text not in draft.nodes}
    for name in reversed(unknown.values()):
        if name.text not in draft.broken:
            help = did_you_mean(name.text, draft.nodes) or f"declare it: layer {name.text}[...]"
            draft.report("E0201", f"there is no station `{name.text}`", name.span, help=help)


def _own(
    draft: Draft, node: ast.Line, attributes: Attributes, values: dict[str, Value | None], known: int
) -> Line | None:
    dims = _dimensions(draft, node)
    generator = draft.attempt(lambda: _generator(draft, node, attributes, values))
    sign = draft.attempt(lambda: _sign(draft, node, attributes))
    count = values.get("count", 0)
    misspelt = any(d.code == "E0205" for d in draft.diagnostics[known:])
    if node.kind == "paths" and "count" not in attributes and not misspelt:
        help = "give the number of paths: { count = 4096 }"
        draft.report("E0204", f"`{node.name.text}` has no count", node.name.span, help=help)
    if dims is None or generator is None or sign is None or not isinstance(count, int):
        return None
    visits = tuple(
        Visit(visit.station.text, dim, visit.span.place, axes)
        for visit, (dim, axes) in zip(node.visits, dims, strict=True)
    )
    return Line(node.name.text, node.kind, visits, count, generator, sign)


def _dimensions(draft: Draft, node: ast.Line) -> list[_Drawn] | None:
    """The dimension or axes of each visit: given for all, or its position in the chain."""
    known = len(draft.diagnostics)
    given = [visit for visit in node.visits if visit.dimension is not None]
    if given and node.kind != "paths":
        draft.report(
            "E0227",
            f"`{node.kind}` draws no paths and takes no dimensions",
            given[0].span,
            help=f"write `{given[0].station.text}`",
        )
        return None
    if not given:
        if node.kind == "paths":
            chain = " ".join(f"{visit.station.text}@{i}" for i, visit in enumerate(node.visits))
            draft.default(node.name.span, f"paths {node.name.text}", "dimensions", chain, "position in the chain")
            return [(i, ()) for i in range(len(node.visits))]
        return [(0, ())] * len(node.visits)
    for position, visit in enumerate(node.visits):
        if visit.dimension is None:
            name = visit.station.text
            message = f"station `{name}` has no Sobol' dimension, its neighbours have"
            help = f"give every station a dimension, or none of them: `{name}@{position}`"
            draft.report("E0203", message, visit.span, label="choose one", help=help)
    dims = [draft.attempt(lambda v=visit: _drawn(draft, v)) for visit in given]
    settled = [dim for dim in dims if dim is not None]
    return settled if len(settled) == len(node.visits) and len(draft.diagnostics) == known else None


def _drawn(draft: Draft, visit: ast.Visit) -> _Drawn:
    assert visit.dimension is not None
    if not isinstance(visit.dimension, ast.Axes):
        return _dimension(draft, visit.dimension), ()
    axes = tuple(Axis(_dimension(draft, a.dimension), _parts(draft, a.parts)) for a in visit.dimension.entries)
    return axes[0].dim, axes


def _dimension(draft: Draft, node: ast.Expression) -> int:
    value = evaluate(node, draft.scope)
    if not isinstance(value, int) or not 0 <= value <= MAX_DIMENSION:
        message = f"a dimension is an integer from 0 to {MAX_DIMENSION}, not {show_number(value)}"
        raise error("E0209", message, node.span)
    return value


def _parts(draft: Draft, node: ast.Expression) -> int:
    value = evaluate(node, draft.scope)
    if not isinstance(value, int) or value < 1:
        raise error("E0209", f"an axis has a positive number of places, not {show_number(value)}", node.span)
    return value


def _word_or_call(node: ast.Expression, kind: Kind, noun: str, draft: Draft) -> Call:
    if not isinstance(node, ast.Name | ast.Application):
        raise error("E0208", f"a {noun} is expected here", node.span)
    return call_value(node, (kind,), noun, draft.scope)


def _generator(draft: Draft, node: ast.Line, attributes: Attributes, values: dict[str, Value | None]) -> Call:
    """The generator with the attributes of the line that are its options folded in."""
    if node.kind != "paths":
        return Call("sobol")
    subject = f"paths {node.name.text}"
    if "sequence" in attributes:
        call = _word_or_call(attributes["sequence"].value, "generator", "generator", draft)
    else:
        call = Call("sobol")
        draft.default(node.name.span, subject, "sequence", "sobol", "none is given")
    entry = find(call.name, ("generator",))
    assert entry is not None
    options = dict(call.options)
    for name in GENERATOR_OPTIONS:
        option = entry.option(name)
        if name not in attributes:
            if option is not None and name not in options:
                draft.default(node.name.span, subject, name, option.default, "none is given")
            continue
        attribute = attributes[name]
        if option is None:
            raise error("E0227", f"the generator `{call.name}` takes no `{name}`", attribute.name.span)
        if name in options:
            help = "give it once, here or as an option of the sequence"
            raise error("E0206", f"`{name}` is given twice", attribute.name.span, help=help)
        value = option_value(option, attribute.value, draft.scope) if name == "scramble" else values[name]
        if value is None:
            raise PathcError()
        options[name] = value
    folded = canonical(Call(call.name, tuple(options.items())))
    _warn_idle_seed(draft, attributes, folded)
    return folded


def _warn_idle_seed(draft: Draft, attributes: Attributes, call: Call) -> None:
    if call.name == "sobol" and call.get("seed") and options_of(call)["scramble"] == Word("none"):
        place = attributes["seed" if "seed" in attributes else "sequence"].span
        help = "add `scramble = shift`, `lms` or `owen`"
        draft.diagnostics.append(
            Diagnostic(
                "W0201", "the seed has no effect: nothing is scrambled", place, help=help, severity=Severity.WARNING
            )
        )


def _sign(draft: Draft, node: ast.Line, attributes: Attributes) -> Call:
    if "sign" in attributes:
        return _word_or_call(attributes["sign"].value, "sign", "sign rule", draft)
    if node.kind != "skip":
        draft.default(node.name.span, f"{node.kind} {node.name.text}", "sign", "hadamard", "none is given")
    return Call("hadamard")


def _mirror(draft: Draft, node: ast.Line, attributes: Attributes) -> Line | None:
    """The line that is walked backwards; None if it stands above but is faulty."""
    value = attributes["mirror"].value
    if not isinstance(value, ast.Name):
        raise error("E0208", "`mirror` names a line", value.span, help="mirror = encode")
    if value.text in draft.lines:
        return _mirrorable(node, draft.lines[value.text], value)
    if value.text in draft.line_nodes:
        if draft.line_nodes[value.text].span.start < node.span.start:
            return None
        raise error("E0223", f"`{value.text}` stands below", value.span, help=f"put `{value.text}` first")
    if value.text in draft.broken:
        return None
    help = did_you_mean(value.text, draft.lines)
    raise error("E0223", f"there is no line `{value.text}`", value.span, help=help)


def _mirrorable(node: ast.Line, line: Line, place: ast.Name) -> Line:
    if line.kind != node.kind:
        message = f"`{line.name}` is drawn with `{line.kind}`, its mirror with `{node.kind}`"
        raise error("E0223", message, place.span, help=f"begin this line with `{line.kind}`")
    if line.mirror:
        message = f"`{line.name}` is a mirror itself"
        raise error("E0223", message, place.span, help=f"mirror = {line.mirror}")
    return line


def _mirrored(draft: Draft, node: ast.Line, attributes: Attributes, mirror: Line | None) -> Line | None:
    """Visits, count, generator and sign of a line that walks `mirror` backwards."""
    for name in _FROM_MIRROR:
        if name in attributes:
            help = "remove it, or remove `mirror`"
            draft.report("E0225", f"`{name}` comes from the mirrored line", attributes[name].span, help=help)
    given = [visit for visit in node.visits if visit.dimension is not None]
    if given:
        help = f"write `{given[0].station.text}`, and the others alike"
        draft.report("E0225", "dimensions come from the mirrored line", given[0].span, help=help)
    sign = draft.attempt(lambda: _sign(draft, node, attributes)) if "sign" in attributes else None
    if mirror is None:
        return None
    backwards = mirror.visits[::-1]
    if len(backwards) != len(node.visits):
        message = f"`{node.name.text}` visits {len(node.visits)} stations, `{mirror.name}` {len(backwards)}"
        help = f"visit stations of the sizes of: {' -> '.join(visit.station for visit in backwards)}"
        draft.report("E0224", message, node.visits[0].span.to(node.visits[-1].span), help=help)
        return None
    subject = f"{node.kind} {node.name.text}"
    why = f"it mirrors {mirror.name}"
    if node.kind == "paths":
        draft.default(node.name.span, subject, "count", mirror.count, why)
        draft.default(node.name.span, subject, "sequence", mirror.generator, why)
    visits = tuple(
        Visit(visit.station.text, other.dim, visit.span.place, other.axes)
        for visit, other in zip(node.visits, backwards, strict=True)
    )
    return Line(
        node.name.text, node.kind, visits, mirror.count, mirror.generator, sign or mirror.sign, mirror=mirror.name
    )


def _tied(draft: Draft, node: ast.Line, attributes: Attributes, values: dict[str, Value | None]) -> bool:
    if "weights" not in attributes:
        if node.kind != "skip":
            draft.default(node.name.span, f"{node.kind} {node.name.text}", "weights", "own", "none is given")
        return False
    tied = values["weights"] == Word("tied")
    if tied and "mirror" not in attributes:
        help = "add `mirror = LINE`, or write `weights = own`"
        draft.report("E0226", "weights are tied to those of no line", attributes["weights"].span, help=help)
    return tied
