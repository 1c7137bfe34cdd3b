"""Run the benchmarks one after the other: `python -m benchmarks [NAME...]`, all of them without names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
UNAVAILABLE = 3
"""What scripts exit with where the machine lacks what they measure."""
ALL = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("_", "make_")))


def main(names: list[str]) -> int:
    """Run the named scripts; returns the number of those that failed."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or ALL:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, FOLDER / f"{name}.py"], check=False).returncode not in (
            0,
            UNAVAILABLE,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
