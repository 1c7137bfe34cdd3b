"""Write digits.npz: the 8x8 digits of scikit-learn (pip install scikit-learn) in a fixed split.

$ python examples/make_digits.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TEST = 360
SEED = 0


def main() -> None:
    """Shuffle the 1797 images once, keep 360 for the test."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    images, labels = digits.data[order].astype(np.uint8), digits.target[order].astype(np.uint8)
    np.savez_compressed(
        Path(__file__).with_name("digits.npz"),
        x_train=images[TEST:],
        y_train=labels[TEST:],
        x_test=images[:TEST],
        y_test=labels[:TEST],
    )


if __name__ == "__main__":
    main()
