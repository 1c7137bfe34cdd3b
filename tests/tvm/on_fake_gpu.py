"""Calls a library for GPUs beside `fake_libcuda.c`, in a process whose `libcuda.so.1` that is.

    python on_fake_gpu.py FOLDER STREAM    net.so, x.npy and dy.npy in, y.npy, dx.npy, ... out; says what it saw as JSON

Arrays of the GPU are made by the library and read by their address, as its memory is the processor's.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import numpy as np
import tvm_ffi

from pathc.backends.tvm.library import GpuLibrary
from pathc.support.diagnostics import PathcError

folder, stream = Path(sys.argv[1]), int(sys.argv[2])
said: dict[str, object] = {}
fake = None


def read(array) -> np.ndarray:
    """What an array on the GPU holds."""
    assert array.__dlpack_device__()[0] == 2
    kind = ctypes.c_float * int(np.prod(array.shape))
    return np.array(kind.from_address(array.data_ptr()), np.float32).reshape(tuple(array.shape))


def state() -> list[int]:
    return list((ctypes.c_long * 7).in_dll(fake, "fake_state"))


def fault(call) -> str:
    try:
        call()
    except PathcError as reason:
        return f"{type(reason).__name__} {reason.diagnostics[0].code}: {reason.diagnostics[0].message}"
    return ""


def errors(net: GpuLibrary, x) -> None:
    """What does not fit."""
    there = net._module["upload"]
    axes = [2, 3][: len(x.shape) - 1]
    host, other = np.zeros((*axes, net.inputs), np.float32), there(np.zeros((*axes, net.inputs + 1), np.float32), 0)
    said["host"] = fault(lambda: net(host))
    said["none"] = fault(lambda: net(None))
    said["columns"] = fault(lambda: net(other))
    said["type"] = fault(lambda: net(there(host.astype(np.float64), 0)))
    said["device"] = fault(lambda: net._told(lambda: there(host, 5)))
    said["elsewhere"] = fault(lambda: net._told(lambda: net._module["forward"](x, *net._on(there(host, 1)))))
    said["missing"] = fault(lambda: net._told(lambda: net._module["forward"](x)))
    said["few"] = fault(lambda: net._told(lambda: net._module["run"](*axes, x)))
    said["numbers"] = fault(lambda: net._told(lambda: net._module["run"](*axes[1:], x)))
    said["large"] = fault(lambda: net._told(lambda: net._module["run"](1 << 40, *axes[1:], x)))
    said["long"] = fault(lambda: net._told(lambda: net._module["run"](*axes[1:], 1 << 40, x)))
    os.environ["FAKE_OFFSET"] = "4"
    crooked = [there(array, 0) for array in net._weights]
    del os.environ["FAKE_OFFSET"]
    said["crooked"] = fault(
        lambda: net._told(lambda: net._module["forward"](x, *crooked, *net._zeros(len(read(x)), 0)))
    )
    if axes[1:]:
        said["stepless"] = fault(lambda: net(there(host[:, :0], 0)))


def steps(net: GpuLibrary, x) -> None:
    """The whole net by `run`, and then kernel by kernel, on memory of ours."""
    record = json.loads((folder / "net.json").read_text())
    *size, _ = x.shape
    tiles, lanes = -(-int(np.prod(size)) // record["lanes"]), record["lanes"]
    shapes = {name: (tiles, units, lanes) for name, units in record["buffers"]} | {"y": (*size, record["outputs"])}
    shapes |= {name: (*size, columns) for name, columns in record["arrays"]}
    arrays = {name: net._module["upload"](np.full(shape, np.nan, np.float32), 0) for name, shape in shapes.items()}
    arrays |= dict(zip(record["weights"], net._on(x), strict=True)) | {"x": x}
    if record["gradients"]:
        return
    used = {name for launch in record["launches"] for name in launch["arguments"]}
    known = ("x", "y", *dict(record["buffers"]), *dict(record["arrays"]), *record["weights"], *dict(record["states"]))
    order = [name for name in known if name in used]

    def begun() -> dict[str, object]:
        zeros = {name: np.zeros((size[0], columns), np.float32) for name, columns in record["states"]}
        return arrays | {name: net._module["upload"](array, 0) for name, array in zeros.items()}

    held = begun()
    net._module["run"](*size, *(held[name] for name in order))
    np.save(folder / "run.npy", read(arrays["y"]))
    ctypes.memset(arrays["y"].data_ptr(), 0, 4 * int(np.prod(size)) * record["outputs"])
    held = begun()
    for launch in record["launches"]:
        given = [held[name] for name in launch["arguments"] if name in held]
        net._module[launch["kernel"]](*size, *given)
    np.save(folder / "kernels.npy", read(arrays["y"]))


def going_on(net: GpuLibrary, x) -> None:
    """States: those of other sequences, those of the sequences before, none."""
    one = net._module["upload"](read(x)[:1], 0)
    said["states"] = fault(lambda: net(one))
    np.save(folder / "second.npy", read(net(x)))
    net.reset()
    np.save(folder / "begun.npy", read(net(x)))
    net.reset()


def main() -> None:
    """Everything in turn; the first fault that keeps the net from running ends it."""
    global fake
    net = GpuLibrary(folder / "net.so")
    given = np.load(folder / "x.npy")

    def first() -> None:
        net._there[0] = [net._module["upload"](array, 0) for array in net._weights]

    said["start"] = fault(lambda: net._told(first))
    if said["start"]:
        return
    fake = ctypes.CDLL("libcuda.so.1")
    held = state()[0]
    x = net._module["upload"](given, 0)
    with tvm_ffi.use_raw_stream(tvm_ffi.device("cuda", 0), stream):
        y = net(x)
        np.save(folder / "y.npy", read(y))
        said["after"] = state()
        if net.gradient_names:
            dy = net._module["upload"](np.load(folder / "dy.npy"), 0)
            dx, sums = net.gradients(x, dy)
            np.savez(folder / "gradients.npz", dx=read(dx), **{name: read(array) for name, array in sums.items()})
            del dx, sums, dy
        if net._sizes:
            going_on(net, x)
        steps(net, x)
        again = net._module["upload"](given[:1], 0)
        np.save(folder / "one.npy", read(net(again)))
        net.reset()
        said["empty"] = list(net(net._module["upload"](given[:0], 0)).shape)
        net.reset()
        errors(net, x)
        lend = ctypes.cast(fake.fake_lend, ctypes.c_void_p)
        tvm_ffi.LIB.TVMFFIEnvSetDLPackManagedTensorAllocator(lend, 0, None)
        before = state()
        lent = net(x)
        np.save(folder / "lent.npy", read(lent))
        said["lent"] = [now - then for now, then in zip(state(), before, strict=True)]
        del lent
        net.reset()
        tvm_ffi.LIB.TVMFFIEnvSetDLPackManagedTensorAllocator(None, 0, None)
    del x, y, again
    said["left"] = [state()[0] - held - len(net._there.get(1, [])), state()[1], state()[6]]


main()
print(json.dumps(said))
