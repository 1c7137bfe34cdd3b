"""A program as the dispatcher goes through it: loops written out, buffers exchanged."""

from __future__ import annotations

from collections.abc import Iterator

from pathc.backends.engine.isa import Context, Instruction
from pathc.backends.engine.program import Program
from pathc.support.diagnostics import PathcError, error

MAX_INSTRUCTIONS = 1 << 18
"""Most instructions that a program may go through."""
MAX_STEPS = 1 << 25
"""Most steps that the units may do, which takes some seconds to simulate."""
MAX_TOKENS = 1 << 16
"""Most tokens of one kind that are given in a program; the counters have 16 bits."""


def unrolled(program: Program) -> Iterator[tuple[int, Instruction, Context]]:
    """Number, instruction and context of all that is dispatched, HALT last; ends without one if there is none."""
    counter = rounds = parity = 0
    while counter < len(program.code):
        each = program.code[counter]
        yield counter, each, Context(rounds, parity)
        if each.name == "HALT":
            return
        parity ^= each.name == "SWAP"
        counter += 1
        if each.name == "LOOP":
            rounds += 1
            if rounds < each.fields["count"]:
                counter -= 1 + each.fields["length"]
            else:
                rounds = 0


def bounded(program: Program) -> None:
    """Raise E1043 unless the program ends with HALT and its loops are sound, E1044 if it takes too long, E1042 for
    tokens that more than one unit gives or takes.
    """
    _structure(program)
    steps = 0
    tokens = [0] * 6
    for count, (_, each, _) in enumerate(unrolled(program), 1):
        steps += each.operation.timing(program.machine, each.fields).steps
        for kind in range(6):
            tokens[kind] += each.post >> kind & 1
        if count > MAX_INSTRUCTIONS or steps > MAX_STEPS or max(tokens) >= MAX_TOKENS:
            message = f"the program goes through more than {MAX_INSTRUCTIONS} instructions, {MAX_STEPS} steps"
            raise error("E1044", f"{message} or {MAX_TOKENS} tokens", help="compile it for fewer samples")
    if any(each.wait or each.post for each in program.code):
        _tokens(program)


def _structure(program: Program) -> None:
    names = [each.name for each in program.code]
    if names.count("HALT") != 1 or names[-1] != "HALT":
        raise _unsound(program, len(names) - 1, "a program has one HALT, at its end")
    for number, each in enumerate(program.code):
        if each.name == "LOOP":
            start = number - each.fields["length"]
            if start < 0 or "LOOP" in names[start:number]:
                raise _unsound(program, number, "a LOOP repeats instructions before it, no other LOOP among them")


def _tokens(program: Program) -> None:
    for kind in range(6):
        for what, masks in (("gives", [e.post for e in program.code]), ("takes", [e.wait for e in program.code])):
            units = {each.unit for each, mask in zip(program.code, masks, strict=True) if mask >> kind & 1}
            if len(units) > 1:
                names = " and ".join(sorted(unit.name for unit in units))
                message = f"tokens of kind {kind}: {names} {what.removesuffix('s')} them, where one unit may"
                raise error("E1042", message, help="use another kind of token")


def _unsound(program: Program, number: int, what: str) -> PathcError:
    return error("E1043", f"instruction {max(number, 0)} of `{program.name}`: {what}")
