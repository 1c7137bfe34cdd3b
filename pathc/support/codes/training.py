"""Codes E09xx and W09xx, training: data, settings, the loop, checkpoints, sweeps."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0901",
        "no such data",
        "`--data` takes an `.npz` file, a folder with the four IDX files of MNIST (`.gz` or not), those four files "
        "joined by commas, or the name of a data set that ships with pathc: `digits`.",
    ),
    Code(
        "E0902",
        "an array is missing from the data",
        "A data set holds `x_train` and `y_train`, and for the test accuracy `x_test` and `y_test`. Labels may be "
        "left out where the net learns to repeat its input (`--goal input`).",
    ),
    Code(
        "E0903",
        "data of the wrong shape",
        "Samples are [samples, units], or [samples, height, width] with as many pixels as the input stations have "
        "units; labels are [samples]. Every sample needs a label.",
    ),
    Code(
        "E0904",
        "data with NaN or infinity",
        "A single NaN makes every weight NaN in the first step, so all samples are looked at before training begins.",
    ),
    Code(
        "E0905",
        "labels out of range",
        "A label is the number of an output unit: an integer from 0 to the number of output units less one.",
    ),
    Code(
        "E0906",
        "no IDX file",
        "An IDX file begins with two zero bytes, a code of the element type, the number of axes and their extents; "
        "the values follow, and nothing else.",
    ),
    Code(
        "E0907",
        "the loss is no longer finite",
        "Training has diverged and was stopped. The message names the step, the layer whose values grew beyond all "
        "bounds and the norm they reached. The last checkpoint is left as it was. A smaller learning rate or a "
        "warm-up is the usual cure.",
    ),
    Code(
        "E0908",
        "the checkpoint belongs to another run",
        "A run is continued with the model, the data and the settings it was begun with: only then are the weights "
        "the same, bit by bit, as those of a run that was never interrupted.",
    ),
    Code(
        "E0909",
        "a setting that cannot be",
        "A number of the training is outside of its range, or two settings contradict each other.",
    ),
    Code(
        "E0910",
        "a learning-rate schedule that cannot be read",
        "Schedules are `constant`, `cosine`, `cosine{least=0.01}`, `linear`, and `step{every=3,times=0.1}`; "
        "`--warmup` adds a linear rise in front.",
    ),
    Code(
        "E0911",
        "weights that cannot be continued",
        "A net grows by more paths along the same stations: every tensor of the smaller net must be the beginning of "
        "the tensor of the larger one. With fixed signs, the sign rule must give the old paths their old signs: "
        "`bit(m)`, `dim(k)` and `positive` do, `halves` does not.",
    ),
    Code(
        "E0912",
        "windows that do not divide the paths",
        "Training on windows of paths needs lines of paths that all have the same number of them, and windows of a "
        "power of two paths that divide that number.",
    ),
    Code(
        "E0913",
        "a loss that does not fit the net",
        "`cross-entropy` needs an output station that ends in softmax, and labels; `mse` takes any other net.",
    ),
    Code(
        "E0914",
        "a sweep that cannot be run",
        "A sweep is a grid of models, values of `let`s and seeds. Every model must be read, and every `--set` must "
        "name a `let` of one of them.",
    ),
    Code(
        "E0915",
        "the target cannot train",
        "`pathc train -t llvm` runs compiled kernels, `-t reference` the float64 interpreter, which is slow and right "
        "by definition; `-t 'llvm{precision=bf16}'` multiplies factors of bfloat16. Other targets run nets but do not "
        "train them.",
    ),
    Code(
        "E0916",
        "an optional library is missing",
        "Sweeps over several machines need `distributed`; the help line gives the command that installs it.",
    ),
    Code(
        "E0917",
        "cells of a sweep failed",
        "Some nets of the grid could not be trained; their errors are in the folder of the sweep. Run the same command "
        "again to try them once more: what is finished is not repeated.",
    ),
    Code(
        "W0901",
        "classes without samples",
        "Some labels between the least and the largest never occur in the training data, so the net cannot learn them.",
    ),
    Code(
        "W0902",
        "slow training",
        "The chosen way to train runs in the float64 interpreter, which goes through lines of paths one sample after "
        "the other. A step takes about a hundred times as long as in compiled kernels where paths join flat layers, "
        "six to fifty times for dense lines, filters and most cells. It is meant for comparisons, not for speed.",
    ),
    Code(
        "W0903",
        "nothing to test with",
        "The data has no test samples, so no test accuracy is told.",
    ),
    Code(
        "W0904",
        "no checkpoint to go on from",
        "`--resume` found no checkpoint, so training begins at the beginning. A script may always say `--resume`.",
    ),
    Code(
        "E0918",
        "a sign rule that cannot be read",
        "`--sign` takes the rules of the language: hadamard, halves, bit(m), parity, dim(k), positive, random(seed).",
    ),
    Code(
        "W0905",
        "the net has grown",
        "The weights belong to a net of fewer paths, which is the beginning of this one. They were kept, and the new "
        "paths begin as `--grown` says.",
    ),
    Code(
        "W0906",
        "weights are not kept",
        "No file was named with `-o`, so the trained weights are lost when the command ends.",
    ),
)
