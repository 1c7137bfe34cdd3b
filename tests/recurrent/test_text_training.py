"""Training through time in the interpreter: the loss on a text falls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "train_text.py"


def test_every_structure_learns_a_simple_text(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "text.txt"), "--steps", "40"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split()[0].split("(")[0] for line in lines] == ["full", "grouped", "band", "paths", "diag"]
    for line in lines:
        losses = [float(n) for n in re.search(r"bits ([\d. ]+)  sat", line)[1].split()]
        assert losses[-1] < 0.5 * losses[0], line
