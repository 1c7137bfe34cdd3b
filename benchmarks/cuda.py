"""Path nets, filters and cells on a GPU: right, and how fast beside dense and sparse ones of PyTorch and CuPy.

    python benchmarks/cuda.py                       everything, in a temporary folder
    python benchmarks/cuda.py build FOLDER          on any machine with `pip install 'pathc[cuda]'`
    python benchmarks/cuda.py run FOLDER            on a machine with a GPU; NumPy and safetensors suffice
    python benchmarks/cuda.py run FOLDER --check    compare only
    python benchmarks/cuda.py run FOLDER --sanitize compare under compute-sanitizer only, memcheck and racecheck
    python benchmarks/cuda.py run FOLDER --minutes 9   leave out what is not done by then
    python benchmarks/cuda.py plan                  say what would be run

`build` writes binaries and libraries for sm_80 and sm_90 (`--arch sm_90`: that one alone), inputs, and outputs of the
interpreter with their bounds. `run` compares every net, measures those that are right, most wanted figures first, and
watches a part with compute-sanitizer where that is installed. Every comparison and figure has a time limit and a
process that may die of it; OUT.json and OUT.md, the latter for docs/performance.md, are written anew after each. It
exits with 1 if something is wrong or not done, and with 3 where there is no GPU. Times are minima of launches in a row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from _cuda_check import FAULT, TOOLS, conforms, said_of, sanitizer, watched, watching
from _cuda_jobs import Found, supervise, work
from _cuda_nets import NETS, build, empty, load
from _cuda_peers import PEERS, beside, graph_seconds, measured_peaks
from _cuda_results import Figure, Machine, Results, complaints, driver_version, peaks_of, shares
from numpy.typing import NDArray

from pathc.backends.tvm import driver, nvrtc
from pathc.backends.tvm.driver import fastest
from pathc.support.diagnostics import PathcError, render

_DRAWN = 4096
ONE, BACK = "one", "back"
LIMIT = 45.0
"""Seconds that a job may take besides what it is told to spend."""
_CHECKED, _MEASURED = 0.35, 0.75
"""Shares of --minutes after which comparing and measuring end."""
_ORDER = (-2, 0, 1, -1)
"""Which of a net's batches is measured first, which of every net."""


@dataclass(frozen=True)
class Plan:
    """What is run: (net, kind) to compare, tools of compute-sanitizer, (net, batch, kinds) to measure, in order."""

    compared: tuple[tuple[str, str], ...]
    tools: tuple[str, ...]
    measured: tuple[tuple[str, int, tuple[str, ...]], ...]

    def __str__(self) -> str:
        lines = [f"compare: {', '.join('-'.join(one) for one in self.compared)}"]
        lines += [f"measure: {net}, batch {batch}: {', '.join(kinds)}" for net, batch, kinds in self.measured]
        lines += [f"beside: {', '.join(PEERS)}, an empty kernel"] if self.measured else []
        return "\n".join([*lines, f"compute-sanitizer: {', '.join(self.tools) or 'not installed, or not asked for'}"])


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program for one that makes no sense."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("build", "run", "plan", "work"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("jobs", nargs="*", help="of `work`, which `run` starts")
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--sanitize", action="store_true", help="compare under compute-sanitizer only")
    parser.add_argument("--plain", action="store_true", help="of `work`: compare no libraries, import no PyTorch")
    parser.add_argument("--nets", default=",".join(NETS), help="some of " + ", ".join(NETS))
    archs = nvrtc.ARCHITECTURES
    parser.add_argument("--arch", choices=archs, action="append", help="build for this one alone")
    parser.add_argument("--batches", default="", help="numbers of samples or sequences in place of the nets' own")
    parser.add_argument("--seconds", type=float, default=0.3, help="time to spend on every figure")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time to spend on everything; 0 is as much as it takes"
    )
    parser.add_argument("--out", type=Path, default=Path("cuda-results"), help="write OUT.json and OUT.md")
    given = parser.parse_args(arguments)
    if given.what in ("build", "run", "work") and given.folder is None:
        parser.error("name a folder")
    if given.jobs and given.what != "work":
        parser.error(f"there is nothing to do with {given.jobs[0]}")
    if given.check and given.sanitize:
        parser.error("--check and --sanitize do not go together")
    given.nets = tuple(filter(None, given.nets.split(",")))
    if unknown := [name for name in given.nets if name not in NETS]:
        parser.error(f"there is no net {', '.join(unknown)}; there are {', '.join(NETS)}")
    batches = given.batches.split(",") if given.batches else []
    if not all(n.isdecimal() and int(n) for n in batches):
        parser.error(f"{given.batches} are no numbers of samples")
    given.batches, given.arch = tuple(map(int, batches)), tuple(given.arch or archs)
    return given


def planned(given: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    compared = tuple((name, kind) for name in given.nets for kind in NETS[name].kinds)
    batches = {name: (given.batches if NETS[name].batches else ()) or NETS[name].batches for name in given.nets}
    turns = [(name, batches[name][at % len(batches[name])]) for at in _ORDER for name in given.nets if batches[name]]
    measured = tuple(
        (name, batch, tuple(kind for kind in NETS[name].kinds if (kind == ONE) == (batch == 1)))
        for name, batch in dict.fromkeys(turns)
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


class Run:
    """One run: jobs for workers, what they found, and the time there is."""

    def __init__(self, plan: Plan, given: argparse.Namespace, results: Results) -> None:
        self.plan, self.given, self.results = plan, given, results
        self._start, self._figures = time.monotonic(), dict[tuple[str, int], list[Figure]]()

    def everything(self) -> int:
        """Compare, measure, watch; the exit code."""
        compared = [f"check/{name}/{kind}" for name, kind in self.plan.compared]
        self._do(compared, _CHECKED if self.plan.measured else 1.0)
        self._do(self._figures_wanted(), _MEASURED if self.plan.tools else 1.0)
        if self.plan.measured:
            print(*complaints(self.results.figures), sep="\n", file=sys.stderr)
        for number, tool in enumerate(self.plan.tools, 1):
            self._watch(tool, _MEASURED + (1 - _MEASURED) * number / len(self.plan.tools) if compared else 1.0)
        if self.given.sanitize and not self.plan.tools:
            print("compute-sanitizer is not installed; it is part of the CUDA toolkit", file=sys.stderr)
            return 3
        self._write()
        good = self.results.good
        print("all is well" if good else "SOMETHING IS WRONG OR NOT DONE:", *self.results.faults(), sep="\n")
        return int(not good)

    def _figures_wanted(self) -> list[str]:
        """Jobs that measure, of programs that are right."""
        right = {one["net"] for one in self.results.conformance if one["good"]}
        jobs = ["launch", "peaks"] if self.plan.measured else []
        for name, batch, kinds in self.plan.measured:
            mine = [f"time/{name}/{kind}/{batch}" for kind in kinds if f"{name}-{kind}" in right]
            jobs += [*mine, f"beside/{name}/{batch}"] if mine else []
        return jobs

    def _end(self, share: float) -> float:
        return self._start + 60 * self.given.minutes * share if self.given.minutes else float("inf")

    def _command(self, *options: str) -> list[str]:
        mine = ["--seconds", str(self.given.seconds), *options]
        return [sys.executable, str(Path(__file__).resolve()), *mine, "work", str(self.given.folder)]

    def _do(self, jobs: Sequence[str], share: float) -> None:
        limit = LIMIT + 10 * len(PEERS) * self.given.seconds
        supervise(self._command(), jobs, limit, self._end(share), self._found)

    def _watch(self, tool: str, share: float) -> None:
        """The comparison under a tool of compute-sanitizer, without PyTorch, which has faults of its own."""
        jobs = [f"check/{name}/{kind}" for name in watched(self.given.nets) for kind in NETS[name].kinds]
        said = dict[str, Found]()
        command = [*watching(sanitizer() or "", tool), *self._command("--plain")]
        code = supervise(command, jobs, 4 * LIMIT, self._end(share), said.__setitem__)
        wrong = [job for job, found in said.items() if "failed" not in found and not found["good"]]
        undone = [job for job, found in said.items() if "failed" in found]
        words = ["faults found"] if code == FAULT else [f"exit code {code}"] if code else []
        words += [f"wrong: {', '.join(wrong)}"] if wrong else []
        words += [f"not done: {', '.join(undone)} ({said[undone[0]]['failed']})"] if undone else []
        self.results.sanitizer[tool] = "; ".join(words) or "clean"
        print(f"{tool}: {self.results.sanitizer[tool]}", flush=True)
        self._write()

    def _found(self, job: str, found: Found) -> None:
        """Keep what a job found, and write everything there is."""
        what, *rest = job.split("/")
        if "failed" in found:
            self.results.failed[job] = str(found["failed"])
            print(f"{job}: NOT DONE: {found['failed']}", flush=True)
        elif what == "check":
            self.results.conformance.append(found)
            print(said_of(found), flush=True)
        elif what == "launch":
            self.results.empty_launch, self.results.empty_round_trip = found["launch"], found["round trip"]
        elif what == "peaks":
            self.results.peaks = found
        elif what == "time":
            figure = Figure(**found)
            self.results.figures.append(figure)
            self._figures.setdefault((rest[0], int(rest[2])), []).append(figure)
            graph = f"{figure.graph * 1e6:10.1f} us" if isinstance(figure.graph, float) else figure.graph
            seconds = f"{figure.seconds * 1e6:10.1f} us"
            print(f"{figure.net:8} {figure.kind:5} batch {figure.batch:6}: {seconds}, in a graph {graph}", flush=True)
        else:
            for figure in self._figures.get((rest[0], int(rest[1])), []):
                figure.beside = {} if figure.kind == BACK else found
        self._write()

    def _write(self) -> None:
        if not self.given.check:
            self.results.write(self.given.out)


def done(folder: Path, given: argparse.Namespace, gpu: driver.Device, job: str) -> Found:
    """Do one job of `work`."""
    what, *rest = job.split("/")
    if what == "check":
        return conforms(folder, rest[0], rest[1], gpu, given.plain)
    if what == "launch":
        nothing = empty(folder, gpu)
        launch = partial(nothing.launch, {}, 1)
        spent = fastest(launch, gpu.synchronize, given.seconds)
        waited = fastest(lambda: (launch(), gpu.synchronize()), gpu.synchronize, given.seconds)
        return {"launch": spent, "round trip": waited}
    if what == "peaks":
        return dict[str, Any](measured_peaks(given.seconds))
    if what == "time":
        return asdict(measured(folder, rest[0], rest[1], int(rest[2]), gpu, given.seconds))
    return dict[str, Any](beside(folder, rest[0], NETS[rest[0]].dense, int(rest[1]), given.seconds))


def random_rows(rows: int, columns: int) -> NDArray[np.float32]:
    """Numbers as the layers beside are given: products of zeros take less power, and a GPU then runs faster.

    A few thousand rows are drawn; longer batches repeat them.
    """
    some = np.random.default_rng(1).standard_normal((min(rows, _DRAWN), columns), np.float32)
    return np.resize(some, (rows, columns))


def measured(folder: Path, name: str, kind: str, batch: int, gpu: driver.Device, least: float) -> Figure:
    """One figure without what is beside."""
    loaded, steps = load(folder, f"{name}-{kind}", gpu), NETS[name].steps
    program, backward, rows = loaded.program, kind == BACK, batch * max(1, steps)
    memory = loaded.room(batch, max(1, steps)) | loaded.states(batch)
    memory["x"].write(random_rows(rows, program.inputs))
    if backward:
        memory["dy"].write(random_rows(rows, program.outputs))
    launch = partial(loaded.launch, memory, batch, backward=backward, steps=max(1, steps))
    spent = fastest(launch, gpu.synchronize, least)
    graph = graph_seconds(gpu, launch, least)
    weights = sum(array.nbytes for array in loaded.parameters.values())
    moved = 4 * rows * (program.inputs + program.outputs) * (2 if backward else 1) + weights
    with np.load(folder / f"{name}-work.npz", allow_pickle=False) as kept:
        operations = 2 * rows * int(kept["macs"]) * (3 if backward else 1)
    launches = len(program.launches if backward else program.forward)
    figure = Figure(name, kind, batch, spent, graph, launches, moved, operations, steps=steps)
    shares(figure, peaks_of(gpu.name), gpu.bandwidth)
    return figure


def run(given: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Everything that was asked for; the exit code."""
    results = Results(machine(driver.device(), arguments))
    print(f"{results.machine.gpu}, {results.machine.arch}, driver {results.machine.driver or 'unknown'}", flush=True)
    return Run(planned(given), given, results).everything()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, run, or both; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parsed(arguments)
    try:
        if given.what == "plan":
            print(planned(given))
            return 0
        if given.what == "build":
            build(given.folder, given.nets, given.arch)
            return 0
        reason = driver.missing()
        if reason:
            print(f"nothing to run: {reason}", file=sys.stderr)
            return 3
        if given.what == "work":
            return work(given.jobs, partial(done, given.folder, given, driver.device()))
        if given.what == "run":
            return run(given, arguments)
        with tempfile.TemporaryDirectory() as folder:
            given.folder = Path(folder)
            build(given.folder, given.nets, given.arch)
            return run(given, arguments)
    except PathcError as mistake:
        print(*map(render, mistake.diagnostics), sep="\n", file=sys.stderr, end="")
        return mistake.exit_code


if __name__ == "__main__":
    sys.exit(main())
