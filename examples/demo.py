"""What `make demo` runs: from a model file to a kernel, every step as the command that does it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.rule import Rule

from pathc.cli import main as pathc

HERE = Path(__file__).parent
SCREEN = Console(highlight=False, soft_wrap=True)


def step(title: str, *command: str) -> None:
    """Show a command and run it; the demo ends where one fails."""
    SCREEN.print()
    SCREEN.print(Rule(title, align="left"))
    SCREEN.print(f"[bold]$ pathc {' '.join(command)}[/bold]\n")
    sys.stdout.flush()
    code = pathc(command)
    if code:
        sys.exit(code)


def main() -> None:
    """Check, look, compile, run, compare, measure."""
    os.chdir(HERE)
    digits = np.load("digits.npz")
    SCREEN.print((HERE / "digits.path").read_text(), markup=False)
    with tempfile.TemporaryDirectory() as folder:
        x, y, library = (str(Path(folder) / name) for name in ("x.npy", "y.npy", "digits.s"))
        np.save(x, digits["x_test"])
        step("Is the model right?", "check", "digits.path")
        step("What did the compiler understand?", "dump", "digits.path", "--emit", "structure")
        step("What will the processor do?", "dump", "digits.path", "--emit", "plan")
        step("Compile it ahead of time", "compile", "digits.path", "--weights", "digits.safetensors", "-o", library)
        trained = ("digits.path", "--weights", "digits.safetensors", "--input", x)
        step("Run it on images it has never seen", "run", *trained, "-t", "llvm", "--against", "reference", "-o", y)
        right = (np.load(y).argmax(axis=1) == digits["y_test"]).sum()
        SCREEN.print(
            f"\n{right} of {len(digits['y_test'])} digits are right: [bold]{right / len(digits['y_test']):.1%}"
        )
    models = ("digits.path", "classifier.path", "classifier_pow2.path")
    step("How fast is that?", "bench", *models, "-t", "llvm", "--batch", "1,64", "--against", "scipy")


if __name__ == "__main__":
    main()
