"""`pathc bench`."""

from __future__ import annotations

import argparse
import os

from pathc.cli.flags import Verb, add_model, add_pipeline, add_target, add_voice, batches, duration, options_of
from pathc.cli.talk import Talk, put, put_json


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, several=True)
    parser.add_argument("--batch", metavar="N,...", default="1,64", help="numbers of samples (default: 1,64)")
    parser.add_argument("--against", metavar="PEER,...", default="", help="numpy, scipy, torch, mkl")
    parser.add_argument("--seconds", metavar="S", type=duration, default=0.5, help="time to spend on every figure")
    parser.add_argument("--steps", metavar="N", type=int, default=128, help="steps of sequences (default: 128)")
    group = parser.add_argument_group("remote devices (targets tvm-llvm and cuda)")
    group.add_argument(
        "--rpc", metavar="HOST:PORT", default="", help="measure on a device of this tracker of TVM's RPC"
    )
    group.add_argument("--key", metavar="K", default="", help="the key of the device")
    group.add_argument(
        "--wait", metavar="S", type=duration, default=60.0, help="seconds to wait for anything (default: 60)"
    )
    add_pipeline(parser)
    add_target(parser, several=True)
    add_voice(parser, "one object per target and batch")


def steps_of(given: int) -> int:
    """The number of steps, checked; raises UsageError E0808."""
    from pathc.support.diagnostics import Diagnostic, UsageError

    if not 1 <= given <= 1 << 20:
        raise UsageError(Diagnostic("E0808", f"sequences cannot have {given} steps", help="--steps 128"))
    return given


ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What keeps peers from starting threads that get into each other's way; an environment that sets them wins."""


def _run(arguments: argparse.Namespace) -> int:
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    from pathc.bench import Plan, bench, peers_of
    from pathc.bench.table import show

    talk = Talk.of(arguments)
    plan = Plan(
        models=tuple(arguments.files),
        targets=tuple(arguments.target or (["tvm-llvm"] if arguments.rpc else ["llvm"])),
        batches=tuple(batches(arguments.batch)),
        peers=peers_of(arguments.against),
        weights=arguments.weights,
        seconds=arguments.seconds,
        steps=steps_of(arguments.steps),
        options=options_of(arguments),
    )
    if arguments.rpc or arguments.key:
        from pathc.backends.tvm.remote import Where
        from pathc.bench.remote import bench_remote

        where = Where.of(arguments.rpc, arguments.key, arguments.wait)
        results = bench_remote(plan, where, talk.diagnostics, talk.more)
    else:
        results = bench(plan, talk.diagnostics, talk.more)
    if arguments.json:
        put_json(*(row.as_json() for row in results))
    else:
        put(show(results))
    return 0


VERB = Verb("bench", "measure", "Measure a model on targets and beside other libraries.", _arguments, _run)
