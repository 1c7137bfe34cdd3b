"""Codes E06xx and E07xx, what a target cannot do, and values at run time."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0601",
        "unknown processor",
        "The option `cpu` of an LLVM target names a processor LLVM does not know, or one without 64-bit vectors. Use a "
        "preset (native, avx512, avx2, sse, generic, aarch64) or the name LLVM gives the processor, such as "
        "`znver4`, `sapphirerapids` or `neoverse-n1`.",
    ),
    Code(
        "E0602",
        "unknown processor feature",
        "The option `features` of an LLVM target lists features, each with `+` or `-`, in LLVM's spelling. A "
        "feature was named that the architecture does not have.",
    ),
    Code(
        "E0603",
        "unknown option of the LLVM target",
        "The LLVM target takes `cpu`, `features`, `width` (4, 8 or 16 float32 lanes) and `threads` (0 means as "
        "many as there are cores), `weights` and `precision` (f32 or bf16, where the processor multiplies it) and "
        "`arrays` (rows or units first). `integers=true` computes quantized nets with integers; `events=true` skips "
        "units that are zero, with `rate` also those that so many samples a unit do not hit, `from` the station on "
        "that it names. `pathc train` takes `precision` alone.",
    ),
    Code(
        "E0604",
        "code for another machine",
        "The kernel was compiled for a processor with capabilities this one lacks, so it can be written to a file "
        "but not called here.",
    ),
    Code(
        "E0605",
        "no linker",
        "A shared library is linked by the system's C compiler, and none was found. Objects (`.o`), assembly and "
        "LLVM IR are written without it.",
    ),
    Code(
        "E0606",
        "the linker failed",
        "The system's C compiler was found but could not link the shared library; its own words are in the note.",
    ),
    Code(
        "E0610",
        "a stage the interpreter cannot evaluate",
        "The interpreter evaluates every stage of the vocabulary. In the station of a cell it has a bias, a "
        "convolution, a normalization, a shortcut and pools in front of the cell and activations behind it; the "
        "message names the stage that belongs into a station of its own.",
    ),
    Code(
        "W0662",
        "filters have f32 weights",
        "`weights = bf16` is for flat layers; convolutions are bound by arithmetic, not by what their weights weigh.",
    ),
    Code(
        "E0611",
        "a kernel form that does not fit",
        "A form was asked for by name for a junction it cannot compute; the message says why. Leave the choice to the "
        "cost model, or name one of the forms that `pathc explain forms` lists.",
    ),
    Code(
        "E0612",
        "no such kernel form or junction",
        "`pathc explain forms` lists the forms of the CPU. A junction is named by its line and number: `main.1` is the "
        "first of the line `main`.",
    ),
    Code(
        "E0608",
        "no such kind of file",
        "Ahead of time, `ll`, `s`, `o`, `so`, `h`, `c` and `params` can be written, under a name that is an identifier "
        "in C, because the file exports a function of that name.",
    ),
    Code(
        "E0620",
        "a loss that does not fit the model",
        "Training takes `cross-entropy` (integer labels and one output station) or `mse` (squared errors, any number "
        "of outputs).",
    ),
    Code(
        "E0621",
        "a setting no trainer can have",
        "A batch holds at least one sample, a step needs an optimizer, and Adam's `eps` is positive.",
    ),
    Code(
        "E0622",
        "a state of another trainer",
        "The moments of an optimizer belong to one model, one optimizer and one choice of frozen tensors.",
    ),
    Code(
        "E0640",
        "something else must stand here in a plan",
        "The text of a plan is read line by line; docs/cpu.md gives its grammar.",
    ),
    Code(
        "E0641",
        "no plan, or one of another version",
        "The first line is `plan 1`, then come one or two plans, at most one of row and one of column kernels.",
    ),
    Code("E0642", "a plan ends too early", "The closing brace of a plan is missing. The file was probably cut off."),
    Code(
        "E0643",
        "an unknown word in a plan",
        "Stations and junctions are those of the model, buffers those that stand above the operations.",
    ),
    Code(
        "E0644",
        "a value that cannot stand in a plan",
        "A number of the plan is missing, given twice, too large, or of another type.",
    ),
    Code(
        "E0645",
        "a plan of another net",
        "A junction of the model has other sizes than the plan says. Write the plan again with `--emit plan`, for the "
        "model, overrides and passes it is used with.",
    ),
    Code("E0646", "plan too long", "A plan holds no weights, so 64 Mi characters are enough for every model."),
    Code(
        "W0647",
        "a plan of another processor",
        "A plan runs on every processor with vectors of its width, but what is fast on one need not be on another.",
    ),
    Code(
        "W0648",
        "a plan for arrays that lie otherwise",
        "A plan of column kernels is for arrays with samples or with units first, which `x.T` and `y.T` in it say. "
        "Arrays that lie otherwise follow a plan that is made for them.",
    ),
    Code(
        "E0650",
        "a plan that does not suit the machine",
        "Vectors of the target are wider or narrower than those of the plan, or kernels cannot take so many samples.",
    ),
    Code(
        "E0651",
        "a number of the plan is wrong",
        "Inputs, outputs and work are those of the model; they are checked because callers rely on them.",
    ),
    Code(
        "E0652",
        "a buffer that is not there or does not fit",
        "Buffers have names of their own, start at cache lines and lie inside the scratch memory of the plan.",
    ),
    Code(
        "E0653",
        "a wrong length or order of a buffer",
        "A buffer holds all units of its station. Its order, if it has one, is a linear bijection over GF(2).",
    ),
    Code(
        "E0654",
        "an operation that contradicts the model",
        "An operation speaks of a station or junction as it is not in the model, or of a buffer of another.",
    ),
    Code(
        "E0655",
        "a value that is not there when it is read",
        "A buffer is read before anything was written to it, or after another one in the same place was.",
    ),
    Code(
        "E0656",
        "sums that are not what the model says",
        "Every junction is added to its station exactly once; sums start from the bias if the station has one.",
    ),
    Code(
        "E0657",
        "activations that are not what the model says",
        "The stages of a station are applied to its finished sums, each once, in order.",
    ),
    Code("E0658", "outputs that are not saved once", "Every output of the model is saved exactly once."),
    Code(
        "E0659",
        "internal error: a wrong plan",
        "Every plan is verified before code is made from it. This is a mistake of pathc, whatever the model says.",
    ),
    Code(
        "E0699",
        "internal error: LLVM refused the kernel",
        "The compiler wrote LLVM IR that LLVM does not accept. This is a mistake of pathc, whatever the model says.",
    ),
    Code(
        "E0701",
        "wrong type of array",
        "A compiled kernel reads and writes NumPy arrays of one type in the byte order of the machine. Nothing is "
        "converted where a kernel is bound to its arrays.",
    ),
    Code(
        "E0702",
        "wrong shape of array",
        "Inputs and outputs are [units], or [batch, units] with one row per sample; input and output must have the "
        "same number of samples.",
    ),
    Code(
        "E0703",
        "rows that are not contiguous",
        "A kernel walks through a sample's units one after the other, so the last axis must be contiguous, rows must "
        "not overlap, and data must be aligned to its type.",
    ),
    Code(
        "E0704",
        "output that cannot be written",
        "The array given as output is read-only.",
    ),
    Code(
        "E0705",
        "input and output overlap",
        "A kernel reads inputs while it writes outputs, so the two arrays must not share memory.",
    ),
    Code(
        "E0710",
        "a label that names no output",
        "Cross-entropy takes the number of the right output, from 0 to the outputs less one, for every sample.",
    ),
)
