"""Runs as files for viewers: Perfetto (Chrome trace events) and VCD waveforms."""

from __future__ import annotations

import json
from typing import Any

from pathc.backends.engine.isa import Unit
from pathc.backends.engine.sim.run import Run

_CODES = '!"#$%&'


def perfetto(run: Run) -> str:
    """A timeline of the units as JSON trace events, one microsecond a cycle; opens in ui.perfetto.dev."""
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "tid": int(unit), "name": "thread_name", "args": {"name": unit.name}} for unit in Unit
    ]
    for span in run.spans:
        events.append({
            "ph": "X", "pid": 0, "tid": int(span.unit), "ts": span.start, "dur": span.end - span.start + 1,
            "name": run.program.code[span.number].name, "cat": span.unit.name,
            "args": {"place": run.program.place(span.number), "number": span.number, "iteration": span.iteration,
                     "busy": span.busy, "stall_weight": span.stall_weight, "stall_bank": span.stall_bank,
                     "stall_raw": span.stall_raw},
        })  # fmt: skip
    return json.dumps({"traceEvents": events, "otherData": {"program": run.program.name}}) + "\n"


def vcd(run: Run) -> str:
    """A waveform of every unit: the number of the instruction it carries out, or `x` if none; one clock a cycle."""
    lines = ["$timescale 1 ns $end", "$scope module engine $end"]
    lines += [f"$var wire 16 {_CODES[unit]} {unit.name} $end" for unit in Unit]
    lines += ["$upscope $end", "$enddefinitions $end", "#0", "$dumpvars"]
    lines += [f"bx {_CODES[unit]}" for unit in Unit] + ["$end"]
    changes: dict[int, dict[Unit, str]] = {}
    for span in run.spans:
        changes.setdefault(span.end + 1, {}).setdefault(span.unit, "x")
        changes.setdefault(span.start, {})[span.unit] = f"{span.number:b}"
    for cycle in sorted(changes):
        lines.append(f"#{cycle}")
        lines += [f"b{value} {_CODES[unit]}" for unit, value in sorted(changes[cycle].items())]
    return "\n".join([*lines, f"#{run.cycles}"]) + "\n"
