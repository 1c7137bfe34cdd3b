"""Codes E066x and E0698, what TVM, NVRTC and the CUDA driver cannot do."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0698",
        "internal error: TVM refused a kernel",
        "The compiler wrote TIR or a schedule that TVM does not accept. This is a mistake of pathc, whatever the model "
        "says, or of a TVM other than the versions pathc was tried with.",
    ),
)
