"""Devices that a tracker of TVM's RPC lends: they are sent libraries and asked for outputs and times.

RPC has no authentication: whoever reaches a tracker or server runs what they like on its machine. Loopback or a tunnel.
Nothing here waits longer than it was told to.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.program import extent
from pathc.backends.tvm.shipped import Call, Kind, Measure, Shipped
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UnavailableError, UsageError, error

T = TypeVar("T")
_MAGIC = 0x2F271
"""What a tracker is greeted with, and answers."""
_PROBE = 5.0
_SESSION = 10
"""A server ends a session after so many times the time a caller waits."""
_LONGEST = 86400.0
_REPEATS = 9
_BYTES_A_SECOND = 1e6
"""The slowest network that copies are waited for."""


@dataclass(frozen=True)
class Where:
    """A tracker, the key of a device, and the seconds to wait for anything."""

    host: str
    port: int
    key: str
    seconds: float = 60.0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, address: str, key: str, seconds: float = 60.0) -> Where:
        """The tracker that `HOST:PORT` names; UsageError E0816 for anything else, or without a key."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(Diagnostic("E0816", f"`{address}` is no HOST:PORT", help="--rpc 127.0.0.1:9190"))
        if not key:
            text = "a tracker lends devices by key, and none was given"
            raise UsageError(Diagnostic("E0816", text, help="--key K, as `rpc_server --key K` was started with"))
        if not 0 < seconds <= _LONGEST:
            raise UsageError(Diagnostic("E0816", f"nothing can be waited for {seconds:g} seconds", help="--wait 60"))
        return cls(host.strip("[]"), int(port), key, seconds)

    def notes(self) -> list[Diagnostic]:
        """The warning W0681 where the tracker is reached over a network."""
        try:
            near = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            near = False
        if near:
            return []
        text = f"RPC has no authentication and no encryption, and {self.host} is another machine"
        help = f"reach it through a tunnel: ssh -L {self.port}:localhost:{self.port} ... {self.host}"
        return [Diagnostic("W0681", text, help=help, severity=Severity.WARNING)]


def borrow(where: Where) -> Device:
    """A device from the tracker, returned when nothing refers to it.

    UnavailableError E0676 without a tracker, E0677 without such a device, E0678 if it takes too long, E0679 if it
    fails.
    """
    _greet(where)
    rpc = import_module("tvm.rpc")
    tracker = _within(where, "greet", lambda: rpc.connect_tracker(where.host, where.port))
    summary = _within(where, "list the devices", tracker.summary)
    known = sorted({str(one.get("key", "")).partition(":")[2] for one in summary.get("server_info", ())})
    if where.key not in known:
        start = f"python -m tvm.exec.rpc_server --host 127.0.0.1 --tracker {where} --key {where.key}"
        text = f"the tracker at {where} has no device `{where.key}`"
        help = f"it has {', '.join(known)}" if known else f"start one: {start}"
        raise UnavailableError(Diagnostic("E0677", text, help=help))
    limit = int(_SESSION * where.seconds) + 1
    session = _within(where, "be lent", lambda: tracker.request(where.key, session_timeout=limit, max_retry=1))
    return Device(where, session)


def _greet(where: Where) -> None:
    """Check that a tracker answers, as TVM would wait for one forever."""
    start = f"python -m tvm.exec.rpc_tracker --host 127.0.0.1 --port {where.port}"
    try:
        with socket.create_connection((where.host, where.port), min(_PROBE, where.seconds)) as link:
            link.sendall(struct.pack("<i", _MAGIC))
            answer = link.recv(4)
    except OSError as reason:
        text = f"there is no tracker at {where}: {reason.strerror or reason}"
        raise UnavailableError(Diagnostic("E0676", text, help=f"start one: {start}")) from reason
    if answer != struct.pack("<i", _MAGIC):
        raise UnavailableError(
            Diagnostic("E0676", f"what answers at {where} is no tracker", help=f"start one: {start}")
        )


def _within(where: Where, what: str, call: Callable[[], T], more: float = 0.0) -> T:
    """What a call gives that may never return: it is left to itself when the time is over."""
    results: list[T] = []
    faults: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as reason:
            faults.append(reason)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(where.seconds + more)
    if thread.is_alive():
        text = f"the device `{where.key}` of {where} took more than {where.seconds + more:g} seconds to {what}"
        help = "it may be in use or out of reach: try again, wait longer (--wait), or start another server"
        raise UnavailableError(Diagnostic("E0678", text, help=help))
    for reason in faults:
        if isinstance(reason, PathcError):
            raise reason
        lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
        text = f"the device `{where.key}` of {where} failed to {what}: {' '.join(lines)[:400]}"
        help = "see what its server prints; it needs the version of TVM that is here"
        raise UnavailableError(Diagnostic("E0679", text, help=help)) from reason
    return results[0]


@dataclass
class Device:
    """A device that a tracker lends; `session` is TVM's RPCSession."""

    where: Where
    session: Any
    _sent: int = 0

    def processor(self) -> str:
        """Its processor as LLVM calls it; UnavailableError E0677 if it is of another architecture than the one here."""
        there = self._asked("target.llvm_get_system_triple").partition("-")[0]
        here = str(import_module("tvm.target.codegen").llvm_get_system_triple()).partition("-")[0]
        if there != here:
            text = f"the device `{self.where.key}` of {self.where} is {there}, and libraries are linked here for {here}"
            raise UnavailableError(Diagnostic("E0677", text, help=f"measure it from a machine that is {there}"))
        return self._asked("target.llvm_get_system_cpu")

    def gpu(self) -> tuple[str, str]:
        """Name and architecture (`sm_90`) of its first GPU; UnavailableError E0677 if it has none."""
        gpu = self.session.cuda(0)
        if not _within(self.where, "look for a GPU", lambda: gpu.exist):
            text = f"the device `{self.where.key}` of {self.where} has no GPU that TVM can use"
            raise UnavailableError(Diagnostic("E0677", text, help="check nvidia-smi there, or measure tvm-llvm"))
        name, version = _within(self.where, "name its GPU", lambda: (gpu.device_name, gpu.compute_version))
        return str(name), f"sm_{str(version).replace('.', '')}"

    def place(self, shipped: Shipped, batch: int, steps: int = 1) -> Placed:
        """Send a net with memory for a batch, of sequences of so many steps."""
        arrays = {name: (shape, "float32") for name, shape in shipped.shapes(batch, steps).items()}
        arrays |= {name: (array.shape, str(array.dtype)) for name, array in shipped.parameters.items()}
        size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in arrays.values())

        self._sent += 1
        file = f"net{self._sent}.so"
        """A name of its own: a server keeps what it has loaded, and would go on with that under the same name."""

        def send() -> Placed:
            self.session.upload(bytearray(shipped.library), file)
            place = self.session.cpu(0) if shipped.kind == "cpu" else self.session.cuda(0)
            empty = import_module("tvm.runtime").empty
            made = {name: empty(shape, dtype, device=place) for name, (shape, dtype) in arrays.items()}
            zeros = {name: np.zeros((batch, numbers), np.float32) for name, numbers in shipped.states}
            for name, array in (*shipped.parameters.items(), *zeros.items()):
                made[name].copyfrom(np.ascontiguousarray(array))
            return Placed(self.where, shipped, batch, steps, self.session.load_module(file), place, made)

        return _within(self.where, "take a net", send, size / _BYTES_A_SECOND)

    def measuring(self, batch: int, steps: int = 1) -> Measure:
        """What measures the operations of nets there, on a batch of samples, or of sequences of so many steps.

        On a processor samples are those of one tile.
        """

        def measure(shipped: Shipped) -> dict[str, float]:
            if shipped.sequences:
                return self.place(shipped, batch, steps).operations()
            return self.place(shipped, batch if shipped.kind == "cuda" else shipped.lanes).operations()

        return measure

    def _asked(self, function: str) -> str:
        return str(_within(self.where, "describe its processor", lambda: self.session.get_function(function)()))


@dataclass
class Placed:
    """A net on a remote device, with its memory."""

    where: Where
    shipped: Shipped
    batch: int
    steps: int
    module: Any
    place: Any
    arrays: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> Kind:
        """Whether processor or GPU computes."""
        return self.shipped.kind

    def outputs(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs [rows, outputs] of inputs [batch, ...], of sequences [batch, steps, ...]; E0512 for another size."""
        sizes = (self.batch, self.steps) if self.shipped.sequences else (self.batch,)
        if x.shape[: len(sizes)] != sizes or x.size != self.batch * self.steps * self.shipped.inputs:
            wanted = f"{list(sizes)} times {self.shipped.inputs}"
            raise error("E0512", f"the input has shape {list(x.shape)}, not {wanted} numbers")

        def compute() -> NDArray[np.float32]:
            self.arrays["x"].copyfrom(np.ascontiguousarray(x.reshape(-1, self.shipped.inputs)))
            self.module[self.shipped.run.function](*self._given(self.shipped.run))
            return self.arrays["y"].numpy()

        return _within(self.where, "compute a net", compute, x.nbytes / _BYTES_A_SECOND)

    def seconds(self, call: Call, spend: float) -> list[float]:
        """Seconds of a call, measured there several times for about `spend` seconds in all."""
        least = max(1, int(1e3 * spend / _REPEATS))

        def measure() -> list[float]:
            timed = self.module.time_evaluator(
                call.function, self.place, number=1, repeat=_REPEATS, min_repeat_ms=least
            )
            return [float(spent) for spent in timed(*self._given(call)).results]

        return _within(self.where, "measure", measure, 2 * spend)

    def operations(self, spend: float = 0.05) -> dict[str, float]:
        """The shortest time of every operation by name."""
        return {name: min(self.seconds(call, spend)) for name, call in self.shipped.operations.items()}

    def _given(self, call: Call) -> list[Any]:
        arrays = [self.arrays[name] for name in call.arrays]
        known = self.shipped.numbers(self.batch, self.steps)
        numbers = [extent(number, known) for number in call.numbers]
        return [*numbers, *arrays] if self.kind == "cuda" else [*arrays, *numbers]
