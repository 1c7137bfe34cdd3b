"""Codes of recurrent cells."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0370",
        "a mask that does not fit",
        "`recur = mask(file, block = b)` reads an array named `mask` of zeros and ones from an .npz file, one for each "
        "block of b x b hidden-to-hidden weights: [units / b, units / b]. At least one block must exist.",
    ),
    Code(
        "E0371",
        "sequences without a step",
        "A net with recurrent cells takes [batch, steps, units] or [steps, units] with at least one step, or channels "
        "and extents in place of units. A net whose stage `steps` makes the steps takes samples.",
    ),
    Code(
        "E0372",
        "a stage on the wrong side of a cell",
        "In front of a cell stand bias, convolution, normalization, shortcut and pools, behind it activations.",
        "layer h[64] : bias | gru(recur = diag) | relu",
    ),
    Code(
        "E0373",
        "a recurrence through a normalization",
        "A normalization behind a cell would stand between one step and the next. It is not homogeneous: what it "
        "divides by changes with every step, so it can neither be folded into weights nor be moved out of the time "
        "loop. Normalize what enters the cell, or what leaves it in a station of its own.",
        "layer h[64] : batchnorm | gru(recur = diag)",
    ),
    Code(
        "E0374",
        "options of a cell that exclude each other",
        "A cell that keeps its state from one sequence to the next runs forwards only and looks back one step; a "
        "simple cell made of a trained layer takes over tanh, relu, sigmoid or identity. A cell that looks back "
        "several steps adds them up in front of everything else, so that it has no normalization, pool or shortcut; "
        "the skips of an sru are its highway.",
    ),
    Code(
        "E0375",
        "an initializer of another shape",
        "`prernn(init = file)` begins with the weights of a trained feed-forward layer: tensors of the same names, in "
        "the shape of one copy.",
        'layer fc[256] : prernn(cell = gru, recur = diag, init = "fc.safetensors") | relu',
    ),
    Code(
        "E0376",
        "no recurrent cells here",
        "Not every target and trainer has recurrent cells. `reference`, `llvm`, `tvm-llvm` and `cuda` run them, "
        "`engine` those without gates; `reference` and `llvm` train them, backwards through time.",
    ),
    Code(
        "E0377",
        "a line that cannot be cut at a cell",
        "Kernels compute what leads into a cell for all steps at once, apart from what leads away from it. A line that "
        "passes through the cell is cut there, which paths of Sobol' and random generators allow.",
    ),
    Code(
        "W0661",
        "time loops run on one thread",
        "The input side of a recurrent net uses several threads, its time loops one.",
    ),
)
"""Raised by pathc.ir.cells, pathc.ir.recurrence, pathc.ir.initcells and pathc.ir.inputs."""
