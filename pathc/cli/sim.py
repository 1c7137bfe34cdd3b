"""`pathc sim`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_output, add_voice
from pathc.cli.talk import Talk, put, put_json


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="PROGRAM", help="an object file (.pe) or a whole program as assembly (.s)")
    parser.add_argument(
        "--input", metavar="X", help=".npy file, [samples, units] or [units], of cells with steps (default: zeros)"
    )
    parser.add_argument("--machine", metavar="M", help="machine description the program must be for (.toml)")
    add_output(parser, "write the outputs to this .npy file")
    parser.add_argument("--trace", metavar="FILE", help="write a timeline for ui.perfetto.dev (.json)")
    parser.add_argument("--vcd", metavar="FILE", help="write a waveform")
    parser.add_argument(
        "--rtl", metavar="TOOL", default="",
        help="run the generated hardware as well, in `verilator` or `icarus`; outputs and cycles must be the same",
    )  # fmt: skip
    parser.add_argument(
        "--pipeline", action="store_true",
        help="give each junction lanes of its own and another input: all of X, or 8 of zeros",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check the program: dead-locks, races, addresses")
    add_voice(parser, "the report as one object")


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from pathc.backends.engine.check import check
    from pathc.backends.engine.machine import read_machine
    from pathc.backends.engine.sim import simulate
    from pathc.backends.engine.sim.pipeline import pipeline_json, pipeline_report, pipelined
    from pathc.backends.engine.sim.report import report, report_json
    from pathc.backends.engine.sim.trace import perfetto, vcd
    from pathc.backends.engine.use import inputs_for, load_program, many_inputs, outputs_of
    from pathc.driver import save_array
    from pathc.support.diagnostics import PathcError
    from pathc.support.files import write_atomically

    talk = Talk.of(arguments)
    machine = read_machine(arguments.machine) if arguments.machine else None
    program = load_program(arguments.program, machine)
    found = check(program)
    if found:
        raise PathcError(*found)
    if arguments.check:
        talk.say(f"{program.name}: no dead-lock, no race, all addresses within the machine")
        return 0
    if arguments.pipeline:
        done = pipelined(program, many_inputs(program, arguments.input))
        if arguments.output:
            rows = replace(program, samples=len(done.starts))
            save_array(arguments.output, outputs_of(rows, done.outputs))
        if arguments.json:
            put_json(pipeline_json(done))
        else:
            put(pipeline_report(done))
        return 0
    inputs = inputs_for(program, arguments.input)
    run = simulate(program, inputs)
    if arguments.rtl:
        from pathc.backends.engine.verilog.replay import built

        talk.say(f"building the hardware with {arguments.rtl}, which takes some seconds")
        with built(program.machine, arguments.rtl) as hardware:
            hardware.run(program, inputs).must_equal(run)
        talk.say(f"{arguments.rtl}: the same outputs after the same {run.cycles:,} cycles")
    if arguments.output:
        save_array(arguments.output, outputs_of(program, run.outputs))
    for path, text in ((arguments.trace, perfetto), (arguments.vcd, vcd)):
        if path:
            write_atomically(path, text(run))
            talk.say(f"written: {path}")
    if arguments.json:
        put_json(report_json(run))
    else:
        put(report(run))
    return 0


VERB = Verb(
    "sim", "run a program of the engine, cycle by cycle",
    "Simulate an engine program: values, cycles, and where they go.", _arguments, _run,
)  # fmt: skip
