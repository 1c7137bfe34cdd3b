"""Codes E066x and E0698, what TVM, NVRTC and the CUDA driver cannot do."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0660",
        "no NVRTC",
        "PTX and cubin are made from CUDA text by NVIDIA's run-time compiler, which needs neither a GPU nor a driver. "
        "Install it with `pip install 'nvidia-cuda-nvrtc>=13'`. CUDA text is written without it.",
    ),
    Code(
        "E0661",
        "unknown GPU architecture",
        "The option `arch` of the target `cuda` is one of those NVRTC compiles for, such as `sm_80` (A100) or `sm_90` "
        "(H100, H200).",
    ),
    Code(
        "E0662",
        "internal error: NVRTC refused a kernel",
        "The compiler wrote CUDA text that NVIDIA's compiler does not accept. This is a mistake of pathc, whatever the "
        "model says.",
    ),
    Code(
        "E0663",
        "a description of kernels that cannot be read",
        "The `.json` file beside CUDA text, PTX or cubin says how the kernels are launched. It was damaged, or written "
        "by another version of pathc.",
    ),
    Code(
        "E0664",
        "no GPU",
        "Kernels of the target `cuda` are compiled on any machine, but run only where there is an NVIDIA GPU with its "
        "driver. Write them to files with `pathc compile -o net.cubin`, or run the same TIR with `-t tvm-llvm`.",
    ),
    Code(
        "E0665",
        "the CUDA driver refused",
        "The driver gave an error when a kernel was loaded or launched, or memory was taken; its words are in the "
        "message. With too large a batch it is out of memory. Otherwise the GPU or its driver is not well, or a kernel "
        "is wrong: `benchmarks/cuda.py run FOLDER --sanitize` tells these apart.",
    ),
    Code(
        "E0666",
        "layers that do not fit shared memory",
        "One kernel for the whole net keeps the layers of a tile of samples in shared memory, 163 KiB on `sm_80` and "
        "227 KiB on `sm_90`. Use fewer samples a tile (`cuda{lanes=16}`), or leave out `fused=true`. The states of a "
        "recurrent cell whose units see each other lie there, too, about 20000 units at most; those of "
        "`recur = diag` do not.",
    ),
    Code(
        "E0667",
        "an option of the target `cuda` that makes no sense",
        "`lanes` is a power of two from 1 to 256, `fused` and `gradients` are true or false, not both true: a backward "
        "pass reads the layers of the forward pass from main memory. `precision` is f32, tf32, bf16, fp16 (from sm_80 "
        "on) or fp8 (from sm_89 on); other than f32 it does not go with `fused=true`. `integers` is from sm_80 on. Of "
        "nets with extents, `lanes` and `fused` are about the flat layers.",
    ),
    Code(
        "W0668",
        "a net that is not one kernel",
        "The layers of a tile of samples do not fit shared memory, so every junction has a kernel of its own, and "
        "layers are written to and read from the GPU's main memory.",
    ),
    Code(
        "W0669",
        "junctions that are not computed on tensor cores",
        "With `cuda{precision=tf32}` (or bf16, fp16) dense blocks whose fan-in and fan-out are multiples of 16 are "
        "computed on tensor cores, with fp8 those whose fan-in is a multiple of 32. The other junctions, filters, and "
        "nets compiled for single samples, stay in float32: they are more exact, and slower where they are bound by "
        "arithmetic.",
    ),
    Code(
        "E0670",
        "no C compiler",
        "`pathc compile -o net.so` for `tvm-llvm` and `cuda` has the library linked by `cc`, `gcc` or `clang`; nvcc is "
        "not needed. Install one with `apt-get install gcc libc6-dev`, or write another stage.",
    ),
    Code(
        "W0671",
        "split factors that a tuner found",
        "The target was tuned for this plan on such a processor or GPU (`tvm-llvm{tune=true}`, `cuda{tune=true}`, "
        "here or with `pathc bench --rpc`), and what was fastest is used again. It is kept in `tuned.json` beside "
        "the object cache; delete that file to forget it.",
    ),
    Code(
        "E0674",
        "a library for newer GPUs",
        "A library that `pathc compile -t 'cuda{arch=sm_90}' -o net.so` wrote holds binaries for that architecture and "
        "the newer ones that pathc knows, and PTX for those to come. The GPU here is older: compile for its "
        "architecture.",
    ),
    Code(
        "E0676",
        "no tracker",
        "`pathc bench --rpc HOST:PORT` borrows devices from a tracker of TVM's RPC, and none answers there. Start "
        "one with `python -m tvm.exec.rpc_tracker --host 127.0.0.1 --port 9190` (it needs `pip install "
        "'pathc[rpc]'`), and check address and tunnel.",
    ),
    Code(
        "E0677",
        "no such remote device",
        "The tracker lends no device with that key, or the device has no GPU, or a processor that libraries are not "
        "linked for here. `python -m tvm.exec.rpc_server --host 127.0.0.1 --tracker HOST:PORT --key K` makes a "
        "machine a device (it needs `pip install 'pathc[rpc]'`); `python -m tvm.exec.query_rpc_tracker` lists them. "
        "A server ends if a program that it runs does: start it again.",
    ),
    Code(
        "E0678",
        "a remote device that takes too long",
        "The device is in use by somebody else, out of reach, or slower than the time that `--wait S` allows for every "
        "step.",
    ),
    Code(
        "E0679",
        "a remote device that failed",
        "The server of the device gave an error, in the message, or ended. It needs the same version of TVM as this "
        "machine; what it prints says more.",
    ),
    Code(
        "E0680",
        "a remote device that computes something else",
        "Outputs of the device are held to the float64 interpreter before anything is measured, within the bound that "
        "roundings allow. They are beyond it: the device, its driver or a kernel is wrong.",
    ),
    Code(
        "W0681",
        "RPC over a network",
        "TVM's RPC has neither authentication nor encryption: whoever reaches a tracker or server can run anything "
        "on its machine. Bind both to 127.0.0.1 and reach them through a tunnel, `ssh -L 9190:localhost:9190 HOST`.",
    ),
    Code(
        "W0682",
        "tuned split factors that cannot be read",
        "The file `tuned.json` beside the object cache is damaged or of another version, so that nothing in it is "
        "used. Tuning writes it anew; deleting it ends this note.",
    ),
    Code(
        "W0683",
        "nothing to tune",
        "`tune=true` measures split factors of sums, of filters and of time loops, and this net has no operation with "
        "any: pools, skips and what acts on single values are divided over threads in one way. Nothing was measured.",
    ),
    Code(
        "E0698",
        "internal error: TVM refused a kernel",
        "The compiler wrote TIR or a schedule that TVM does not accept. This is a mistake of pathc, whatever the model "
        "says, or of a TVM other than the versions pathc was tried with.",
    ),
)
