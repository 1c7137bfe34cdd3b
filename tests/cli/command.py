"""Running the command line inside a test."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pathc.cli import main

SMALL = """pathc 1
let P = 256
model small
input  x[64]
layer  h[32] : bias | relu
output y[16]
paths main : x@0 -> h@1 -> y@2 { count = P }
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        """JSON objects on standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


class Stdin:
    """Standard input that holds these bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def runner(read: Callable[[], Any]) -> Run:
    def run(*arguments: object, stdin: bytes = b"") -> Result:
        read()
        with patch.object(sys, "stdin", Stdin(stdin)):
            code = main([str(a) for a in arguments])
        captured = read()
        return Result(code, captured.out, captured.err)

    return run
