"""Programs on the generated hardware: Verilator or Icarus build the engine with a board around it and run it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import Activity
from pathc.backends.engine.isa.word import WORD_BYTES
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim.run import Run
from pathc.backends.engine.unroll import MAX_STEPS, bounded
from pathc.backends.engine.verilog import module_text
from pathc.backends.engine.verilog.emit import engine_text
from pathc.support.diagnostics import Diagnostic, InternalError, UnavailableError, did_you_mean, error

TOOLS = {"verilator": ("verilator", "make", "g++"), "icarus": ("iverilog", "vvp")}
"""Simulators and the programs that they need."""
OUTSIDE = {"inputs": 1 << 16, "weights": 1 << 22, "outputs": 1 << 16}
"""Rows, bytes and rows that the memories of the board hold."""
_PATIENCE = 600.0
_SAID = re.compile(r"^cycles (\d+)\s+activity (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Replay:
    """What the hardware made of a program: `outputs` int32 [rows, lanes] as stored, cycles, and what it multiplied."""

    outputs: NDArray[np.int32]
    cycles: int
    activity: Activity

    def must_equal(self, run: Run) -> None:
        """Raise InternalError E1064 unless the simulator said the same."""
        wrong = int(np.count_nonzero(self.outputs != run.outputs))
        if wrong or (self.cycles, self.activity) != (run.cycles, run.activity):
            text = f"the hardware takes {self.cycles} cycles, the simulator {run.cycles}; {wrong} outputs differ; "
            text += f"{self.activity} in the one, {run.activity} in the other"
            raise InternalError(Diagnostic("E1064", text, help="please report it with the program"))


@dataclass(frozen=True)
class Built:
    """A simulator of the engine for one machine, in a folder of its own; `run` it as often as wanted."""

    machine: Machine
    tool: str
    folder: Path

    def run(self, program: Program, inputs: NDArray[np.int64]) -> Replay:
        """Run a program on integer inputs [rows, units of all inputs].

        Raises PathcError: E1060 if it is for another machine or too large for the board, E1061 if the hardware does
        not halt, and what `unroll.bounded` says.
        """
        bounded(program)
        if program.machine != self.machine:
            raise error("E1060", f"`{program.name}` is for another machine than the hardware")
        outputs = program.output_rows * program.rows
        with tempfile.TemporaryDirectory(prefix="pathc-rtl-") as folder:
            counts = _write_memories(Path(folder), program, inputs, outputs)
            words = [f"+{name}={count}" for name, count in counts.items()]
            said = _call([*self._command, *words, f"+limit={64 * MAX_STEPS}"], Path(folder))
            found = _SAID.search(said)
            if found is None:
                raise error("E1061", f"`{program.name}` does not come to its end: {said.strip()[-200:]}")
            activity = Activity(*map(int, found.groups()[1:]))
            return Replay(_read_outputs(Path(folder), outputs, self.machine.lanes), int(found[1]), activity)

    @property
    def _command(self) -> list[str]:
        program = str(self.folder / "engine")
        return [program] if self.tool == "verilator" else ["vvp", "-n", program]


def build(machine: Machine, tool: str, folder: str | Path) -> Built:
    """Build a simulator (`verilator` or `icarus`) of the engine for a machine in a folder.

    Raises PathcError E1062 for another tool, UnavailableError E1063 if it is not installed, PathcError E1061 if it
    does not take the text.
    """
    if tool not in TOOLS:
        raise error("E1062", f"there is no simulator `{tool}`", help=did_you_mean(tool, TOOLS) or ", ".join(TOOLS))
    missing = [name for name in TOOLS[tool] if shutil.which(name) is None]
    if missing:
        packages = {"verilator": "verilator g++ make", "icarus": "iverilog"}[tool]
        text, help = f"`{missing[0]}` is not installed", f"Debian: apt install {packages}"
        raise UnavailableError(Diagnostic("E1063", text, help=help))
    target = Path(folder).resolve()
    board = {"CODE": machine.program_words, "CONFIG": machine.config_words, "PARAMETERS": machine.parameter_rows,
             "TABLES": max(1, machine.table_rows), **{n.upper(): k for n, k in OUTSIDE.items()}}  # fmt: skip
    sizes = "".join(f"`define PE_BOARD_{name} {size}\n" for name, size in board.items())
    modules = ("pe_board", "pe_bench") if tool == "icarus" else ("pe_board",)
    source = target / "engine.v"
    source.write_text("\n".join((sizes, engine_text(machine), *(module_text(name) for name in modules))))
    if tool == "icarus":
        _call(["iverilog", "-g2005", "-s", "pe_bench", "-o", str(target / "engine"), str(source)], target)
    else:
        harness = target / "harness.cpp"
        harness.write_text((files("pathc.backends.engine.verilog") / "harness.cpp").read_text())
        _call(["verilator", "--cc", "--exe", "--build", "-O3", "--top-module", "pe_board", "-Wno-fatal", "-Wno-lint",
               "-Mdir", str(target / "made"), "-o", str(target / "engine"), "-CFLAGS", "-O1", str(source),
               str(harness)], target)  # fmt: skip
    return Built(machine, tool, target)


@contextmanager
def built(machine: Machine, tool: str) -> Generator[Built]:
    """The same in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pathc-rtl-") as folder:
        yield build(machine, tool, folder)


def _call(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise error("E1061", f"`{Path(command[0]).name}` has not finished in {_PATIENCE:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise error("E1061", f"`{Path(command[0]).name}` failed: {said[-400:]}")
    return done.stdout


def _write_memories(folder: Path, program: Program, inputs: NDArray[np.int64], outputs: int) -> dict[str, int]:
    """Files for the memories of the board, and how many lines each has."""
    memories = program.memories(inputs)
    code = np.frombuffer(b"".join(each.encode() for each in program.code), np.uint8).reshape(-1, WORD_BYTES)
    lanes = program.machine.lanes
    rows = {
        "code": code,
        "config": memories.config.astype("<u4").reshape(-1, 1).view(np.uint8),
        "parameters": memories.parameters.astype("<i4").reshape(-1, 4 * lanes).view(np.uint8),
        "tables": memories.tables.astype("<u4").reshape(-1, lanes).view(np.uint8),
        "curves": memories.curves.reshape(-1, 1),
        "inputs": memories.inputs.reshape(-1, lanes),
        "weights": np.frombuffer(memories.weights, np.uint8).reshape(-1, 1),
    }
    counts = {name: len(values) for name, values in rows.items()} | {"outputs": outputs}
    for name, most in OUTSIDE.items():
        if counts[name] > most:
            raise error("E1060", f"{counts[name]} entries of {name} do not fit on the board, {most} do")
    for name, values in rows.items():
        text = "".join(row[::-1].tobytes().hex() + "\n" for row in np.ascontiguousarray(values))
        (folder / f"{name}.hex").write_text(text)
    return counts


def _read_outputs(folder: Path, rows: int, lanes: int) -> NDArray[np.int32]:
    if not rows:
        return np.zeros((0, lanes), np.int32)
    words = [w for w in (folder / "outputs.hex").read_text().splitlines() if w and not w.startswith(("//", "@"))]
    data = b"".join(bytes.fromhex(word.strip().zfill(8 * lanes))[::-1] for word in words)
    return np.frombuffer(data, "<i4").reshape(rows, lanes)
