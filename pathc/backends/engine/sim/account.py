"""Where the cycles of a unit go: every cycle has one reason, and together they are all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.engine.isa import Activity, Unit
from pathc.support.diagnostics import Diagnostic, InternalError

_NOTHING = Activity()
REASONS = ("busy", "stall_weight", "stall_bank", "stall_raw", "stall_token", "idle")


@dataclass(frozen=True)
class Span:
    """One instruction in one unit: cycles in which it was queued, started and ended, and what its steps cost.

    `number` is its place in the program, `iteration` the round of the loop. The cycles between start and end that are
    neither busy nor stalled fill and drain the unit. `activity` is what an instruction of EX multiplied.
    """

    unit: Unit
    number: int
    iteration: int
    queued: int
    start: int
    end: int
    busy: int
    stall_weight: int = 0
    stall_bank: int = 0
    stall_raw: int = 0
    activity: Activity = _NOTHING


@dataclass(frozen=True)
class Account:
    """cycles = busy + stall_weight + stall_bank + stall_raw + stall_token + idle of one unit.

    Busy: a step is done. stall_weight: the FIFO is empty (for WS: full). stall_bank: a step that exists because a bank
    was asked twice. stall_raw: the sum of the step before is not yet written. stall_token: an instruction waits for
    tokens. Idle: no instruction, or one that starts, fills or drains.
    """

    cycles: int
    busy: int
    stall_weight: int
    stall_bank: int
    stall_raw: int
    stall_token: int
    idle: int


def account(unit: Unit, spans: Sequence[Span], cycles: int) -> Account:
    """The account of a unit over a run of so many cycles; each reason is added up by itself and the sum checked."""
    busy = sum(s.busy for s in spans)
    weight, bank, raw = (sum(getattr(s, name) for s in spans) for name in REASONS[1:4])
    token = idle = free = 0
    for span in spans:
        head = max(free, span.queued + 1)
        idle += head - free
        token += span.start - head
        idle += span.end - span.start + 1 - span.busy - span.stall_weight - span.stall_bank - span.stall_raw
        free = span.end + 1
    idle += cycles - free
    found = Account(cycles, busy, weight, bank, raw, token, idle)
    if min(busy, weight, bank, raw, token, idle) < 0 or busy + weight + bank + raw + token + idle != cycles:
        raise InternalError(Diagnostic("E1045", f"the cycles of {unit.name} do not add up: {found}"))
    return found
