"""The example that trains on a text: every structure learns, and both probes are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "train_text.py"
SMALL = ["--units", "24", "--steps", "40", "--batch", "8", "--length", "24", "--rate", "0.01"]


def test_every_structure_learns_a_simple_text(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "text.txt"), *SMALL],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    marks, *lines = done.stdout.splitlines()
    assert [int(n) for n in marks.split("steps")[1].split()] == list(range(0, 41, 5))
    curves, probes = lines[::2], lines[1::2]
    assert [line.split()[0].split("(")[0] for line in curves] == ["full", "grouped", "band", "paths", "diag"]
    counts = [int(re.search(r"(\d+) weights", line)[1]) for line in curves]
    assert max(counts) < 1.3 * min(counts)
    for line in curves:
        losses = [float(n) for n in line.split("weights")[1].split()]
        assert len(losses) == 9
        assert losses[-1] < 0.5 * losses[0], line
    for line in probes:
        assert re.search(r"ms a step +saturated r \d+%, z \d+% ", line), line
        shares = [int(n) for n in line.split("activations")[1].split()]
        assert len(shares) == 10
        assert 95 <= sum(shares) <= 105
