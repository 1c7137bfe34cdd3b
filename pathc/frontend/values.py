"""Values of options: expressions checked against the catalogue and made canonical."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pathc.frontend import ast
from pathc.frontend.scope import FUNCTIONS, Scope, evaluate
from pathc.ir.catalogue import Entry, Kind, Option, canonical, entries, find
from pathc.ir.types import SCALAR_NAMES, Call, Quantity, ScalarType, Size, Value, Word, fixed_point, plain_type
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error

_TRUTH = {"true": True, "false": False}
_NAMES = {
    "int": "an integer", "float": "a number", "bool": "true or false", "size": "a size such as 3x3",
    "percent": "a percentage", "text": "a text in quotes", "recurrence": "a recurrence",
}  # fmt: skip
_MAX_BITS = 32


def listing(words: Iterable[str], last: str = "or") -> str:
    """Words as an English list."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def call_value(node: ast.Stage, kinds: Sequence[Kind], noun: str, scope: Scope) -> Call:
    """A word of the vocabulary with its options, defaults left out, in the order of the catalogue.

    `kinds` are the kinds of words that may stand here and `noun` what they are called in messages.
    Raises PathcError: E0205 to E0209, E0213, E0214 and those of arithmetic, all faults of the call at once.
    """
    name = node if isinstance(node, ast.Name) else node.name
    entry = find(name.text, kinds)
    if entry is None:
        known = [e.name for e in entries(*kinds)]
        help = did_you_mean(name.text, known) or f"there are: {', '.join(known)}"
        raise error("E0213", f"there is no {noun} `{name.text}`", name.span, help=help)
    arguments = node.arguments if isinstance(node, ast.Application) else ()
    faults: list[Diagnostic] = []
    given: dict[str, Value] = {}
    broken: set[str] = set()
    positional = [option for option in entry.options if option.positional]
    for argument in arguments:
        try:
            option = _option_of(argument, entry, positional)
            if option.name in given or option.name in broken:
                raise error("E0206", f"`{option.name}` is given twice", argument.span)
            broken.add(option.name)
            given[option.name] = option_value(option, argument.value, scope)
        except PathcError as mistake:
            faults.extend(mistake.diagnostics or [_SILENT])
    missing = [o.name for o in entry.options if o.required and o.name not in given and o.name not in broken]
    if missing and not faults:
        usage = ", ".join(o.name if o.positional else f"{o.name} = ..." for o in entry.options if o.required)
        needed = listing([f"`{m}`" for m in missing], "and")
        faults.append(Diagnostic("E0207", f"`{entry.name}` needs {needed}", node.span, help=f"{entry.name}({usage})"))
    if faults:
        raise PathcError(*(fault for fault in faults if fault is not _SILENT))
    return canonical(Call(entry.name, tuple(given.items())))


_SILENT = Diagnostic("E0210", "")
"""Stands for a fault that was reported before, where it arose."""


def _option_of(argument: ast.Argument, entry: Entry, positional: list[Option]) -> Option:
    if argument.name is None:
        if positional:
            return positional.pop(0)
        how = listing([f"{o.name} = ..." for o in entry.options]) if entry.options else ""
        help = f"give it by name: {how}" if how else f"write `{entry.name}`"
        raise error("E0205", f"`{entry.name}` takes no further value by position", argument.span, help=help)
    option = entry.option(argument.name.text)
    if option is None:
        known = [o.name for o in entry.options]
        help = did_you_mean(argument.name.text, known) or (f"there are: {', '.join(known)}" if known else "")
        raise error("E0205", f"`{entry.name}` has no option `{argument.name.text}`", argument.name.span, help=help)
    if option in positional:
        positional.remove(option)
    return option


def option_value(option: Option, node: ast.Expression, scope: Scope) -> Value:
    """The value of one option; raises PathcError E0208, E0209, E0214 and those of arithmetic and calls."""
    accepts = option.accepts
    word = _joined_word(node)
    if word is not None:
        if "bool" in accepts and word in _TRUTH:
            return _TRUTH[word]
        if "word" in accepts and (choice := _matching_choice(word, option.choices)):
            return Word(choice)
    if "recurrence" in accepts and isinstance(node, ast.Name | ast.Application):
        return call_value(node, ("recurrence",), "recurrence", scope)
    if isinstance(node, ast.Text) and "text" in accepts:
        return node.value
    if isinstance(node, ast.Measure) and "percent" in accepts:
        return _percentage(node)
    if isinstance(node, ast.Number) and isinstance(node.value, Size) and "size" in accepts:
        for extent in node.value.extents:
            check_bounds(option, extent, node)
        return node.value
    if isinstance(node, ast.Measure | ast.Text) or not _takes_number(option):
        raise _wrong_kind(option, node)
    if isinstance(node, ast.Name) and node.text not in scope:
        raise _unknown_word(option, node, scope)
    return _number(option, node, scope)


def _takes_number(option: Option) -> bool:
    return "int" in option.accepts or "float" in option.accepts


def _number(option: Option, node: ast.Expression, scope: Scope) -> int | float:
    value = evaluate(node, scope)
    if isinstance(value, float) and "float" not in option.accepts:
        raise error("E0208", f"`{option.name}` must be an integer, not {show_number(value)}", node.span)
    check_bounds(option, value, node)
    return float(value) if "float" in option.accepts else value


def check_bounds(option: Option, value: float, node: ast.Expression) -> None:
    """Raise PathcError E0209 unless the value lies within the bounds of the option."""
    if option.low is not None and value < option.low:
        message = f"`{option.name}` must be at least {option.low:g}, not {show_number(value)}"
        raise error("E0209", message, node.span)
    if option.high is not None and value > option.high:
        message = f"`{option.name}` may be at most {show_bound(option.high)}, not {show_number(value)}"
        raise error("E0209", message, node.span)


def show_number(value: float) -> str:
    """An integer in all digits, a fraction in six."""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def show_bound(bound: float) -> str:
    """A bound as it is read best: powers of two as such."""
    whole = int(bound)
    for shift, text in ((0, ""), (1, " - 1")):
        power = whole + shift
        if whole == bound and power > 1 << 16 and power & (power - 1) == 0:
            return f"2^{power.bit_length() - 1}{text}"
    return f"{bound:g}"


def _percentage(node: ast.Measure) -> Quantity:
    value = node.number.value
    if node.unit != "%" or isinstance(value, Size):
        raise error("E0208", "a percentage is expected here", node.span, help="for example 10%")
    if not 0 < value <= 100:
        raise error("E0209", "a percentage must lie above 0 and not above 100", node.span)
    return Quantity(float(value), "%")


def _wrong_kind(option: Option, node: ast.Expression) -> PathcError:
    word = _joined_word(node)
    if word is not None and option.choices:
        return _unknown_word(option, ast.Name(word, node.span), Scope())
    return error("E0208", f"`{option.name}` must be {_expected(option)}", node.span)


def _unknown_word(option: Option, node: ast.Name, scope: Scope) -> PathcError:
    known = [*option.choices, *(scope.values if _takes_number(option) else ())]
    help = did_you_mean(node.text, known)
    if not option.choices:
        wanted = f"`{option.name}` must be {_expected(option)}"
        return error("E0210", f"there is no number `{node.text}`", node.span, help=help or wanted)
    message = f"`{option.name}` cannot be `{node.text}`"
    return error("E0214", message, node.span, help=help or f"it must be {_expected(option)}")


def _expected(option: Option) -> str:
    words = [f"`{choice}`" for choice in option.choices]
    return listing([*words, *(_NAMES[kind] for kind in option.accepts if kind != "word")])


def _joined_word(node: ast.Expression) -> str | None:
    """The text of a word or of words joined by plus signs."""
    if isinstance(node, ast.Name):
        return node.text
    if isinstance(node, ast.Binary) and node.operator == "+":
        left, right = _joined_word(node.left), _joined_word(node.right)
        return f"{left}+{right}" if left is not None and right is not None else None
    return None


def _matching_choice(word: str, choices: tuple[str, ...]) -> str | None:
    """The choice that has the same parts, in any order."""
    parts = sorted(word.split("+"))
    return next((choice for choice in choices if sorted(choice.split("+")) == parts), None)


def scalar_type(node: ast.Stage) -> ScalarType | None:
    """The element type a stage names, or None if it names none; raises PathcError E0207 to E0209."""
    name = node if isinstance(node, ast.Name) else node.name
    if name.text not in SCALAR_NAMES:
        return None
    if name.text != "fix":
        if isinstance(node, ast.Application):
            raise error("E0205", f"the type `{name.text}` takes no options", node.span)
        return plain_type(name.text)
    if isinstance(node, ast.Name):
        raise error("E0207", "`fix` needs its bits and fractional bits", node.span, help="fix(8, frac = 4)")
    values = [argument.value.value for argument in node.arguments if isinstance(argument.value, ast.Number)]
    names = [argument.name.text if argument.name else "" for argument in node.arguments]
    if len(values) != 2 or names not in (["", "frac"], ["", ""], ["bits", "frac"]):
        raise error("E0207", "`fix` needs its bits and fractional bits", node.span, help="fix(8, frac = 4)")
    bits, frac = values
    if not (isinstance(bits, int) and isinstance(frac, int) and 2 <= bits <= _MAX_BITS and frac <= bits):
        message = f"`fix` has 2 to {_MAX_BITS} bits, of which at most all are fractional"
        raise error("E0209", message, node.span, help="fix(8, frac = 4)")
    return fixed_point(bits, frac)


def free_value(node: ast.Expression, scope: Scope) -> Value:
    """The value of an option of a target, whose backend checks it later; raises PathcError as arithmetic does."""
    match node:
        case ast.Text():
            return node.value
        case ast.Measure():
            number = node.number.value
            if isinstance(number, Size):
                raise error("E0208", "a size has no unit", node.span)
            return Quantity(float(number), node.unit)
        case ast.Number(value=Size() as size):
            return size
        case ast.Name() if node.text in _TRUTH:
            return _TRUTH[node.text]
        case ast.Name() if node.text not in scope:
            return scalar_type(node) or Word(node.text)
        case ast.Application() if node.name.text not in FUNCTIONS:
            kind = scalar_type(node)
            if kind is None:
                raise error("E0213", f"there is no type or function `{node.name.text}`", node.name.span)
            return kind
        case _:
            joined = _joined_word(node) if isinstance(node, ast.Binary) else None
            if joined is not None and not any(part in scope for part in joined.split("+")):
                return Word(joined)
            return evaluate(node, scope)
