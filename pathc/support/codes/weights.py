"""Codes E05xx, weight and data files."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0501",
        "a file cannot be read",
        "The file does not exist, is no regular file, or may not be opened. Check the path and the permissions.",
    ),
    Code(
        "E0502",
        "a file or tensor is too big for the memory",
        "Sizes are checked before memory is taken. Files and arrays may use half of the main memory of the "
        "machine. Use a machine with more memory, a smaller model or a smaller batch.",
    ),
    Code(
        "E0503",
        "a file cannot be written",
        "Files are written whole: first beside the target, then renamed onto it, so the old content is still "
        "there. Check that the folder exists, that it may be written and that the disk has room.",
    ),
    Code(
        "E0504",
        "a file is damaged or no such file at all",
        "The content is not what the suffix says, it is cut off, or its header contradicts itself. Copy it "
        "again or write it again. Files with pickled objects are never read.",
    ),
    Code(
        "E0505",
        "a tensor is missing",
        "The graph needs one tensor per junction, `<line>.<junction>`, and one per bias, `<station>.bias`. "
        "A line with tied weights has none of its own.",
    ),
    Code(
        "E0506",
        "a tensor that the graph does not know",
        "The file holds a tensor whose name belongs to no line and no station of the graph. Rename it, drop "
        "it, or use the file with the model it was trained for.",
    ),
    Code(
        "E0507",
        "a tensor has the wrong shape",
        "A path junction has one weight per path, a dense junction [units out, units in], a bias one value "
        "per unit. The file was probably written for another count or other sizes.",
    ),
    Code(
        "E0508",
        "a tensor has the wrong element type",
        "Weights are float32, float64, float16, bfloat16 or integers (with `<name>.scale` beside them).",
    ),
    Code(
        "E0509",
        "a tensor holds NaN or infinity",
        "Weights and scales must be finite. Such values usually come from a training run that diverged.",
    ),
    Code(
        "E0510",
        "an unknown kind of file",
        "Weights live in `.safetensors` or `.npz` files, inputs in `.npy` files; graphs are written to `.pir` files.",
    ),
    Code(
        "E0511",
        "a value that the file format cannot hold",
        "`.npz` has no bfloat16; `.safetensors` holds both.",
    ),
    Code(
        "E0512",
        "an input array has the wrong shape",
        "Inputs are [batch, units] or [units]; several input stations lie side by side in the order in "
        "which they are declared.",
    ),
    Code(
        "E0513",
        "an input array has the wrong element type",
        "Inputs are floats, integers or booleans; integers are taken as values, not scaled.",
    ),
)
