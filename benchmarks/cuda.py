"""Path nets, filters and cells on a GPU: right, and how fast beside dense and sparse ones of PyTorch and CuPy.

    python benchmarks/cuda.py                       everything, in a temporary folder
    python benchmarks/cuda.py build FOLDER          on any machine with `pip install 'pathc[cuda]'`
    python benchmarks/cuda.py run FOLDER            on a machine with a GPU; NumPy suffices, PyTorch for what is beside
    python benchmarks/cuda.py run FOLDER --check    compare only
    python benchmarks/cuda.py run FOLDER --sanitize compare under compute-sanitizer only, memcheck and racecheck
    python benchmarks/cuda.py plan                  say what would be run

`build` writes binaries and libraries for sm_80 and sm_90, inputs and the interpreter's outputs with their bounds. `run`
compares every net, watches a part with compute-sanitizer where that is installed, measures, and writes `--out`.json and
.md, the latter for docs/performance.md. It exits with 1 if something is wrong and with 3 where there is no GPU. Times
are minima over launches that are timed in a row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from _cuda_check import TOOLS, conforms, sanitize, sanitizer
from _cuda_nets import NETS, build, empty, fitting, load
from _cuda_peers import PEERS, beside, captured, measured_peaks
from _cuda_results import Figure, Machine, Results, complaints, driver_version, peaks_of, shares

from pathc.backends.tvm import driver
from pathc.backends.tvm.driver import fastest
from pathc.support.diagnostics import PathcError, render

ONE, BACK = "one", "back"


@dataclass(frozen=True)
class Plan:
    """What is run: programs to compare, tools of compute-sanitizer, (net, batch, kinds) to measure."""

    compared: tuple[str, ...]
    tools: tuple[str, ...]
    measured: tuple[tuple[str, int, tuple[str, ...]], ...]

    def __str__(self) -> str:
        lines = [f"compare: {', '.join(self.compared)}"]
        lines += [f"compute-sanitizer: {', '.join(self.tools) or 'not installed, or not asked for'}"]
        lines += [f"measure: {net}, batch {batch}: {', '.join(kinds)}" for net, batch, kinds in self.measured]
        return "\n".join([*lines, f"beside: {', '.join(PEERS)}, an empty kernel" if self.measured else ""]).rstrip()


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program for one that makes no sense."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("build", "run", "plan"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--sanitize", action="store_true", help="compare under compute-sanitizer only")
    parser.add_argument("--nets", default=",".join(NETS), help="some of " + ", ".join(NETS))
    parser.add_argument("--batches", default="", help="numbers of samples or sequences in place of the nets' own")
    parser.add_argument("--seconds", type=float, default=0.3, help="time to spend on every figure")
    parser.add_argument("--out", type=Path, default=Path("cuda-results"), help="write OUT.json and OUT.md")
    given = parser.parse_args(arguments)
    if given.what in ("build", "run") and given.folder is None:
        parser.error("name a folder")
    if given.check and given.sanitize:
        parser.error("--check and --sanitize do not go together")
    given.nets = tuple(filter(None, given.nets.split(",")))
    if unknown := [name for name in given.nets if name not in NETS]:
        parser.error(f"there is no net {', '.join(unknown)}; there are {', '.join(NETS)}")
    batches = given.batches.split(",") if given.batches else []
    if not all(n.isdecimal() and int(n) for n in batches):
        parser.error(f"{given.batches} are no numbers of samples")
    given.batches = tuple(map(int, batches))
    return given


def planned(given: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    compared = tuple(f"{name}-{kind}" for name in given.nets for kind in NETS[name].kinds)
    measured = tuple(
        (name, batch, tuple(kind for kind in NETS[name].kinds if (kind == ONE) == (batch == 1)))
        for name in given.nets
        for batch in (given.batches if NETS[name].batches else ()) or NETS[name].batches
    )
    tools = TOOLS if sanitizer() and not given.check else ()
    if given.sanitize:
        return Plan((), tools, ())
    return Plan(compared, tools, () if given.check else measured)


def machine(gpu: driver.Device, arguments: Sequence[str]) -> Machine:
    """Where this runs."""
    versions: dict[str, str] = {}
    for package in ("pathc", "torch", "cupy-cuda13x", "cupy-cuda12x", "apache-tvm-ffi", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    command = " ".join(["python benchmarks/cuda.py", *arguments])
    date = datetime.now(UTC).strftime("%d %B %Y").lstrip("0")
    return Machine(date, gpu.name, gpu.arch, driver_version(), command, versions)


def run(folder: Path, plan: Plan, given: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Compare, then watch, then measure; the exit code."""
    gpu = driver.device()
    results = Results(machine(gpu, arguments))
    print(f"{gpu.name}, {gpu.arch}, driver {results.machine.driver or 'unknown'}")
    results.conformance = [conforms(folder, stem, gpu) for stem in plan.compared]
    good = all(one["good"] for one in results.conformance)
    if plan.tools or given.sanitize:
        results.sanitizer = sanitize(folder, Path(__file__), given.nets)
        good = good and all(said == "clean" for said in results.sanitizer.values())
        if given.sanitize:
            return 3 if not results.sanitizer else int(not good)
    if good and plan.measured:
        measure(folder, plan, gpu, given.seconds, results)
    if not given.check:
        print(*(f"written: {path}" for path in results.write(given.out)), sep="\n")
    print("all is well" if good else "SOMETHING IS WRONG: nothing was measured")
    return int(not good)


def measure(folder: Path, plan: Plan, gpu: driver.Device, least: float, results: Results) -> None:
    """Figures of the whole plan, with what is beside."""
    nothing = empty(folder, gpu)
    launch = partial(nothing.launch, {}, 1)
    results.empty_launch = fastest(launch, gpu.synchronize, least)
    results.empty_round_trip = fastest(lambda: (launch(), gpu.synchronize()), gpu.synchronize, least)
    results.peaks = measured_peaks(least)
    for name, batch, kinds in plan.measured:
        others = beside(folder, name, NETS[name].dense, batch, least)
        for kind in kinds:
            figure = measured(folder, name, kind, batch, gpu, least)
            figure.beside = {} if kind == BACK else others
            results.figures.append(figure)
            print(f"{name:8} {kind:5} batch {batch:6}: {figure.seconds * 1e6:10.1f} us", flush=True)
    print(*complaints(results.figures), sep="\n", file=sys.stderr)


def measured(folder: Path, name: str, kind: str, batch: int, gpu: driver.Device, least: float) -> Figure:
    """One figure without what is beside."""
    loaded, steps = load(folder, f"{name}-{kind}", gpu), NETS[name].steps
    program, backward, rows = loaded.program, kind == BACK, batch * max(1, steps)
    memory = loaded.room(batch, max(1, steps)) | loaded.states(batch)
    memory["x"].write(np.zeros((rows, program.inputs), np.float32))
    if backward:
        memory["dy"].write(np.zeros((rows, program.outputs), np.float32))
    launch = partial(loaded.launch, memory, batch, backward=backward, steps=max(1, steps))
    spent = fastest(launch, gpu.synchronize, least)
    path = folder / f"{name}-{kind}-{fitting(gpu)}.so"
    axes = (batch, steps) if steps else (batch,)
    graph = "" if backward else captured(path, (*axes, program.inputs), least)
    weights = sum(array.nbytes for array in loaded.parameters.values())
    moved = 4 * rows * (program.inputs + program.outputs) * (2 if backward else 1) + weights
    with np.load(folder / f"{name}-work.npz", allow_pickle=False) as kept:
        operations = 2 * rows * int(kept["macs"]) * (3 if backward else 1)
    launches = len(program.launches if backward else program.forward)
    figure = Figure(name, kind, batch, spent, graph, launches, moved, operations, steps=steps)
    shares(figure, peaks_of(gpu.name), gpu.bandwidth)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, run, or both; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parsed(arguments)
    try:
        if given.what == "plan":
            print(planned(given))
            return 0
        if given.what == "build":
            build(given.folder, given.nets)
            return 0
        reason = driver.missing()
        if reason:
            print(f"nothing to run: {reason}", file=sys.stderr)
            return 3
        if given.what == "run":
            return run(given.folder, planned(given), given, arguments)
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), given.nets)
            return run(Path(folder), planned(given), given, arguments)
    except PathcError as mistake:
        print(*map(render, mistake.diagnostics), sep="\n", file=sys.stderr, end="")
        return mistake.exit_code


if __name__ == "__main__":
    sys.exit(main())
