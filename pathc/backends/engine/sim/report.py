"""What a run amounts to, for people (`report`) and programs (`report_json`)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pathc.backends.engine.isa import Activity, Unit
from pathc.backends.engine.sim.account import REASONS, Span
from pathc.backends.engine.sim.run import WORKERS, Run


def report_json(run: Run) -> dict[str, Any]:
    """Cycles, time, utilisation, accounts of the units, and every instruction that was carried out."""
    program = run.program
    return {
        "program": program.name,
        "lanes": program.machine.lanes,
        "samples": program.samples,
        "steps": program.steps,
        "instructions": len(program.code),
        "cycles": run.cycles,
        "microseconds": run.cycles / program.machine.clock,
        "weights": program.work,
        "utilisation": run.utilisation,
        "utilisation_while_working": _working(run),
        "activity": asdict(run.activity),
        "units": {unit.name: asdict(run.accounts[unit]) for unit in Unit},
        "spans": [{**asdict(span), "unit": span.unit.name, "name": program.code[span.number].name,
                   "place": program.place(span.number)} for span in run.spans],
    }  # fmt: skip


def report(run: Run) -> str:
    """The same as text: totals, a line a unit, a line a place in the source."""
    program = run.program
    head = (
        f"{program.name}: {run.cycles:,} cycles, {run.cycles / program.machine.clock:,.2f} us at "
        f"{program.machine.clock} MHz, {len(program.code)} instructions, {program.samples} samples"
        f"{f' of {program.steps} steps' if program.steps else ''}\n"
        f"{program.work:,} weights a sample in {program.machine.lanes} lanes: {run.utilisation:.1%} of all lanes and "
        f"cycles, {_working(run):.1%} from the first step of EX to the last\n\n"
    )
    done = run.activity
    if done.products:
        head = head.removesuffix("\n") + (
            f"{done.silent / done.products:.1%} of {done.products:,} products have a source of zero; "
            f"{done.empty:,} of {done.steps:,} steps have no other\n\n"
        )
    rows = [("unit", *REASONS)]
    rows += [(unit.name, *(f"{getattr(run.accounts[unit], name):,}" for name in REASONS)) for unit in WORKERS]
    return head + _table(rows) + "\n" + _table(_places(run))


def _working(run: Run) -> float:
    """Share of lanes and cycles between the start of the first and the end of the last instruction of EX."""
    spans = run.of(Unit.EX)
    if not spans:
        return 0.0
    cycles = spans[-1].end - spans[0].start + 1
    return run.program.work * run.program.samples / (cycles * run.program.machine.lanes)


def _places(run: Run) -> list[tuple[str, ...]]:
    """Cycles of every place in the source, of all samples together."""
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in run.spans:
        if span.unit is not Unit.CTL:
            key = run.program.place(span.number), run.program.code[span.number].name
            groups.setdefault(key, []).append(span)
    rows = [("instruction", "for", "times", "cycles", "busy", "stalled", "zero")]
    for (place, name), spans in groups.items():
        cycles = sum(span.end - span.start + 1 for span in spans)
        stalled = sum(span.stall_weight + span.stall_bank + span.stall_raw for span in spans)
        busy = sum(span.busy for span in spans)
        done = sum((span.activity for span in spans), Activity())
        zero = f"{done.silent / done.products:.1%}" if done.products else ""
        rows.append((name, place, f"{len(spans):,}", f"{cycles:,}", f"{busy:,}", f"{stalled:,}", zero))
    return rows


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    left = 2 if rows[0][0] == "instruction" else 1
    lines = ["  ".join(c.ljust(w) if k < left else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in rows]  # fmt: skip
    return "".join(f"{line.rstrip()}\n" for line in lines)
