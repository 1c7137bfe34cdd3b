"""Rules about the words of stages, generators and signs, and their options."""

from __future__ import annotations

import math

from pathc.ir.catalogue import STAGE_KINDS, find
from pathc.ir.graph import Graph
from pathc.ir.types import Call, Quantity, Size, Value, Word
from pathc.ir.verify.rule import Found, rule
from pathc.ir.vocabulary import Kind, Option
from pathc.support.diagnostics import Diagnostic, did_you_mean
from pathc.support.source import Loc


@rule("graph")
def words_are_known(graph: Graph) -> Found:
    """Stages, generators and sign rules stand in the vocabulary, with options it knows, of the right type."""
    for station in graph.stations:
        for stage in station.pipeline:
            yield from _check_call(stage, STAGE_KINDS, "stage", station.loc)
        if len([stage for stage in station.pipeline if stage.name == "bias"]) > 1:
            yield Diagnostic("E0313", f"station `{station.name}` has two biases", station.loc, help="one is enough")
    for line in graph.lines:
        yield from _check_call(line.generator, ("generator",), "path generator", line.loc)
        yield from _check_call(line.sign, ("sign",), "sign rule", line.loc)


def _check_call(call: Call, kinds: tuple[Kind, ...], what: str, place: Loc | None) -> Found:
    entry = find(call.name, kinds)
    if entry is None:
        yield Diagnostic("E0312", f"there is no {what} `{call.name}`", place, help="`pathc explain` lists the words")
        return
    given = dict(call.options)
    for name in given:
        if entry.option(name) is None:
            hint = did_you_mean(name, [option.name for option in entry.options])
            yield Diagnostic("E0313", f"`{call.name}` has no option `{name}`", place, help=hint)
    for option in entry.options:
        value = given.get(option.name, option.default)
        if value is None:
            yield Diagnostic("E0313", f"`{call.name}` lacks the option `{option.name}`", place, help=option.doc)
        elif not _takes(option, value):
            text = f"`{call.name}` cannot have {option.name} = {value}"
            yield Diagnostic("E0313", text, place, help=option.doc)
        elif isinstance(value, Call):
            yield from _check_call(value, ("recurrence",), "recurrence", place)


def _takes(option: Option, value: Value) -> bool:
    """True if the value is of a kind the option accepts and within its bounds."""
    match value:
        case bool():
            return "bool" in option.accepts
        case int() | float():
            whole = isinstance(value, int) and "int" in option.accepts
            return (whole or "float" in option.accepts) and _within(option, value)
        case Size():
            return "size" in option.accepts and all(_within(option, n) for n in value.extents)
        case Quantity():
            return "percent" in option.accepts and value.unit == "%" and math.isfinite(value.number)
        case Word():
            return "word" in option.accepts and (not option.choices or value.text in option.choices)
        case str():
            return "text" in option.accepts
        case Call():
            return "recurrence" in option.accepts
        case _:
            return False


def _within(option: Option, number: float) -> bool:
    low = -math.inf if option.low is None else option.low
    high = math.inf if option.high is None else option.high
    return math.isfinite(number) and low <= number <= high


RULES = (words_are_known,)
"""What must hold of words."""
