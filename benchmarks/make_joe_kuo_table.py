"""Write pathc/ir/generators/joe_kuo_d6.npz from the direction numbers that scipy carries.

Run once, when the number of shipped dimensions changes: `python benchmarks/make_joe_kuo_table.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.stats

DIMENSIONS = 4096
DEGREE = 16
TABLE = Path(__file__).parents[1] / "pathc" / "ir" / "generators" / "joe_kuo_d6.npz"


def main() -> None:
    source = Path(scipy.stats.__file__).with_name("_sobol_direction_numbers.npz")
    with np.load(source, allow_pickle=False) as table:
        polynomial = table["poly"][:DIMENSIONS]
        initial = table["vinit"][:DIMENSIONS, :DEGREE]
        if polynomial.max() >> (DEGREE + 1) or initial.max() >> 16:
            raise SystemExit(f"{DIMENSIONS} dimensions do not fit polynomials of degree {DEGREE}")
    np.savez_compressed(TABLE, polynomial=polynomial.astype(np.uint32), initial=initial.astype(np.uint16))


if __name__ == "__main__":
    main()
