"""Whole nets beside the machine's limits and the other libraries that are installed.

    python benchmarks/nets.py [--seconds S] [--batch 1,64,256]

`784-300-300-10` has no dense blocks, `1024-256-256-16` has them everywhere, `layer` is one junction between 1024 units;
the number behind the slash is that of the paths. Ratios are a peer's time over that of `llvm{threads=1}`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable

from pathc.bench import Plan, bench
from pathc.bench.peers import PEERS
from pathc.bench.table import show
from pathc.cli.bench import ONE_THREAD
from pathc.cli.flags import batches
from pathc.support.diagnostics import Diagnostic, render_all
from pathc.support.source import Source

COUNTS = (1024, 4096, 16384)
SIZES = {"mlp300": (784, 300, 300, 10), "mlp256": (1024, 256, 256, 16), "layer": (1024, 1024)}


def model(name: str, sizes: tuple[int, ...], count: int) -> Source:
    """A chain of layers with ReLU between them."""
    stations = [f"input s0[{sizes[0]}]"]
    stations += [f"layer s{k}[{n}] : relu" for k, n in enumerate(sizes[1:-1], start=1)]
    stations += [f"output s{len(sizes) - 1}[{sizes[-1]}]"]
    chain = " -> ".join(f"s{k}@{k}" for k in range(len(sizes)))
    lines = ["pathc 1", f"model {name}_{count}", *stations, f"paths main : {chain} {{ count = {count} }}"]
    return Source(f"{name}_{count}.path", "\n".join(lines) + "\n")


def tell(found: Iterable[Diagnostic]) -> None:
    """Print diagnostics."""
    sys.stderr.write(render_all(list(found)))


def main() -> None:
    """Measure and print, in a process whose libraries start no threads of their own."""
    if not set(ONE_THREAD) <= set(os.environ):
        quiet = os.environ | dict.fromkeys(ONE_THREAD, "1")
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=quiet, check=False).returncode)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for every figure")
    parser.add_argument("--batch", default="1,64,256", help="numbers of samples")
    options = parser.parse_args()
    plan = Plan(
        models=tuple(model(name, sizes, count) for name, sizes in SIZES.items() for count in COUNTS),
        targets=("llvm{threads=1}", "llvm"),
        batches=tuple(batches(options.batch)),
        peers=tuple(peer for peer in PEERS.values() if not peer.missing()),
        seconds=options.seconds,
    )
    print(show(bench(plan, tell, lambda _: None)))


if __name__ == "__main__":
    main()
