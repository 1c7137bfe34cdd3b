"""Results of `cuda.py`: what was run where, as JSON and as the Markdown of docs/performance.md."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _cuda_peers import PEERS, Seconds

_HOPPER = {"f32": 66.9e12, "tf32": 494.7e12, "bf16": 989.4e12, "fp16": 989.4e12, "fp8": 1978.9e12, "int8": 1978.9e12}
_AMPERE = {"f32": 19.5e12, "tf32": 156e12, "bf16": 312e12, "fp16": 312e12, "int8": 624e12}
PEAKS = {
    "H200 NVL": {"memory": 4.8e12},
    "H200": {"memory": 4.8e12, **_HOPPER},
    "H100 NVL": {"memory": 3.9e12},
    "H100 PCIe": {"memory": 2.0e12, "f32": 51.2e12, "tf32": 378e12, "bf16": 756e12, "fp16": 756e12, "fp8": 1513e12,
                  "int8": 1513e12},
    "H100": {"memory": 3.35e12, **_HOPPER},
    "A100-SXM4-80GB": {"memory": 2.039e12, **_AMPERE},
    "A100 80GB PCIe": {"memory": 1.935e12, **_AMPERE},
    "A100": {"memory": 1.555e12, **_AMPERE},
}  # fmt: skip
"""Bytes and operations a second, dense, by what a name contains; the first entry that does is taken.

f32 is that of CUDA cores, the others are those of tensor cores. Of A100: "NVIDIA A100 Tensor Core GPU", data sheet
1758950 r4, and the Ampere architecture white paper. Of H100 SXM5 and PCIe: "NVIDIA H100 Tensor Core GPU Architecture"
(white paper GTC22), tables of peak rates without sparsity, the memory of PCIe cards as product brief PB-11133-001. H200
has the chip of H100 SXM5; its memory is that of the H200 data sheet. NVL cards have other clocks, and no table of their
dense rates was found.
"""
_ARITHMETIC = {"one": "f32", "many": "f32", "back": "f32"}
"""Kinds that compute with CUDA cores; the others are named after what tensor cores multiply."""


@dataclass(frozen=True)
class Machine:
    """Where and when: the GPU, NVIDIA's driver, the versions of what took part, and the command."""

    date: str
    gpu: str
    arch: str
    driver: str
    command: str
    versions: Mapping[str, str]


@dataclass
class Figure:
    """One net at one batch: seconds of launches in a row, and in a graph; bytes and operations; others beside.

    Of sequences `batch` are so many of `steps` each, else that is 0.
    """

    net: str
    kind: str
    batch: int
    seconds: float
    graph: float | str
    launches: int
    moved: int
    operations: int
    memory_share: float | None = None
    peak_share: float | None = None
    steps: int = 0
    beside: Seconds = field(default_factory=dict)

    @property
    def best(self) -> float:
        """Seconds in a graph or in a row: those of few samples are spent on launching if they are not in a graph."""
        return self.seconds if isinstance(self.graph, str) else min(self.seconds, self.graph)


@dataclass
class Results:
    """Everything of one run."""

    machine: Machine
    conformance: list[dict[str, Any]] = field(default_factory=list)
    sanitizer: dict[str, str] = field(default_factory=dict)
    empty_launch: float | None = None
    empty_round_trip: float | None = None
    peaks: Seconds = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What is wrong, and what was not done."""
        wrong = [f"{one['net']}: wrong" for one in self.conformance if not one["good"]]
        wrong += [f"{one['net']}: the library is wrong" for one in self.conformance if one.get("library_share", 0) > 1]
        wrong += [f"{tool}: {said}" for tool, said in self.sanitizer.items() if said != "clean"]
        return wrong + [f"{job}: {reason}" for job, reason in self.failed.items()]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong and everything was done."""
        return not self.faults()

    def as_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, stem: Path) -> list[Path]:
        """STEM.json and STEM.md."""
        paths = [stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.md")]
        for path, text in zip(paths, (self.as_json(), markdown(self)), strict=True):
            fresh = path.with_suffix(f"{path.suffix}.new")
            fresh.write_text(text)
            fresh.replace(path)
        return paths


def peaks_of(name: str) -> dict[str, float]:
    """What a GPU gives at most; empty for one that is not in the table."""
    return next((dict(peaks) for known, peaks in PEAKS.items() if known in name), {})


def shares(figure: Figure, peaks: Mapping[str, float], memory: float) -> None:
    """Fill in which share of the memory's bandwidth and of the peak of its arithmetic a figure is."""
    bandwidth = memory or peaks.get("memory", 0.0)
    if bandwidth:
        figure.memory_share = figure.moved / figure.best / bandwidth
    if peak := peaks.get(_ARITHMETIC.get(figure.kind, figure.kind)):
        figure.peak_share = figure.operations / figure.best / peak


def driver_version() -> str:
    """NVIDIA's driver as nvidia-smi names it; empty if it does not."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def markdown(results: Results) -> str:
    """A section for docs/performance.md."""
    machine = results.machine
    good = sum(1 for one in results.conformance if one["good"])
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items() if version)
    lines = [
        "## On a GPU",
        "",
        f"**Machine.** {machine.gpu} ({machine.arch}), driver {machine.driver or 'unknown'}; {versions}.",
        f"**Date.** {machine.date}. **Command.** `{machine.command}`",
        "",
        f"{good} of {len(results.conformance)} programs agree with the interpreter. "
        + _sentence(results.sanitizer, "compute-sanitizer was not run."),
    ]
    if results.failed:
        lines.append(f"Not done: {', '.join(results.failed)}.")
    if results.empty_launch is not None and results.empty_round_trip is not None:
        lines.append(
            f"An empty kernel takes {_micro(results.empty_launch)} us in a row of launches, and"
            f" {_micro(results.empty_round_trip)} us with the wait for it."
        )
    if results.peaks:
        listed = [f"{name} {v / 1e12:.0f}" for name, v in results.peaks.items() if not isinstance(v, str)]
        lines.append(f"Dense products of 8192 x 8192, measured: {', '.join(listed)} TFLOP/s.")
    heads = ["net", "kind", "batch", "us", "us in a graph", "memory", "arithmetic", *PEERS]
    lines += ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(_cells(figure))} |" for figure in results.figures]
    lines += ["", "`memory`: bytes of inputs, outputs and weights a second over the memory's bandwidth. `arithmetic`:"]
    lines += [
        "operations of the edges over the peak of CUDA cores, or of tensor cores where these multiply. Columns of"
    ]
    lines += [
        "others: their time over the net's, both in a graph where they can be; above 1 the net is faster. Dense are"
    ]
    lines += [
        "matrices, beside filters cuDNN's over all channels, beside cells (batch x steps) cuDNN's with full matrices."
    ]
    return "\n".join([*lines, ""])


def _sentence(found: Mapping[str, str], otherwise: str) -> str:
    return (
        "compute-sanitizer: " + ", ".join(f"{tool} {said}" for tool, said in found.items()) + "."
        if found
        else otherwise
    )


def _cells(figure: Figure) -> list[str]:
    graph = "-" if isinstance(figure.graph, str) else _micro(figure.graph)
    batch = f"{figure.batch} x {figure.steps}" if figure.steps else str(figure.batch)
    cells = [figure.net, figure.kind, batch, _micro(figure.seconds), graph]
    cells += [_percent(figure.memory_share), _percent(figure.peak_share)]
    return cells + [_times(figure.beside.get(peer), figure.best) for peer in PEERS]


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _times(spent: float | str | None, own: float) -> str:
    return f"{spent / own:.2f}x" if isinstance(spent, float) else "-"


def complaints(figures: Sequence[Figure]) -> list[str]:
    """Why columns are empty, each reason once."""
    said = {text for figure in figures for text in (figure.graph, *figure.beside.values()) if isinstance(text, str)}
    return sorted(said - {""})
