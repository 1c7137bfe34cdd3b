"""Data sets: `.npz` files, the IDX files of MNIST, texts, and a small one that ships with pathc.

Integers are divided by the largest value of their type (255 for uint8) unless another scale is given; floats are
taken as they are. Nothing is pickled, and all values are looked at before training begins.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.support.arrays import npz_infos, read_npz
from pathc.support.diagnostics import PathcError, did_you_mean, error
from pathc.support.files import read_bounded
from pathc.train.idx import read_idx

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
"""What a data set consists of."""
BUILTIN = {"digits": 16.0}
"""Data sets that ship, with the largest value of a pixel."""
_FILES = (
    ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
)
STEPS = 64
"""Characters of the sequences that a text is cut into."""
_HELD = 10
"""One part in so many of a text is what the net is tested with."""
_LONGEST_TEXT = 1 << 30
_CURE = "give an .npz file, a .txt file, a folder with the IDX files of MNIST, four files joined by commas, or `digits`"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Arrays as they were stored, by the names in `ARRAYS`; `scale` divides integers (0: the largest of their type).

    Of a text, samples and labels are numbers of characters, [samples, steps], and `characters` says how many there are.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    scale: float = 0.0
    characters: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and values, and the scale."""
        state = hashlib.sha256(repr(self.scale).encode())
        for name in sorted(self.arrays):
            array: NDArray[Any] = np.ascontiguousarray(self.arrays[name])
            state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            state.update(array.tobytes())
        return state.hexdigest()

    def divisor(self, name: str) -> float:
        """What the values of an array are divided by: 1 for floats."""
        array = self.arrays[name]
        if array.dtype.kind not in "iu" or self.characters:
            return 1.0
        return self.scale or float(np.iinfo(array.dtype).max)


def load_data(name: str, scale: float = 0.0, steps: int = STEPS) -> Dataset:
    """The data set that `name` spells: an `.npz` or `.txt` file, a folder, four IDX files with commas, or `digits`.

    `scale` divides integer samples (0: the largest value of their type, 16 for `digits`); a text is cut into sequences
    of `steps` characters. Raises PathcError: E0901 no such data or a text that is too short, E0902 missing arrays,
    E0906 a damaged IDX file, E0501, E0502 and E0504 for files that cannot be read.
    """
    if name in BUILTIN:
        return Dataset(name, read_npz(Path(__file__).with_name(f"{name}.npz")), scale or BUILTIN[name])
    path = Path(name)
    if path.suffix.lower() == ".npz":
        return Dataset(path.name, _from_npz(path), scale)
    if path.suffix.lower() == ".txt":
        return _from_text(path, steps)
    if os.path.isdir(path):
        return Dataset(path.name, _from_folder(path), scale)
    if "," in name:
        return Dataset(name, _from_files(name.split(",")), scale)
    raise error("E0901", f"there is no data set `{name}`", help=did_you_mean(name, BUILTIN) or _CURE)


def _from_npz(path: Path) -> dict[str, NDArray[Any]]:
    names = npz_infos(path)
    if "x_train" not in names:
        held = ", ".join(f"`{n}`" for n in list(names)[:8]) or "nothing"
        help = did_you_mean("x_train", names) or f"store {', '.join(ARRAYS)}"
        raise error("E0902", f"`{path}` has no `x_train`, it holds {held}", help=help)
    arrays = read_npz(path)
    return {name: arrays[name] for name in ARRAYS if name in arrays}


def _from_text(path: Path, steps: int) -> Dataset:
    """Sequences of characters (bytes) side by side, each with the characters one step later; the end is for testing."""
    if not 1 <= steps <= 1 << 20:
        raise error("E0901", f"a text cannot be cut into sequences of {steps} characters", help="--steps 64")
    data = np.frombuffer(read_bounded(path, _LONGEST_TEXT), np.uint8)
    letters = np.unique(data)
    count = (len(data) - 1) // steps
    if count < _HELD:
        text = f"`{path}` has {len(data)} characters, which make {max(count, 0)} sequences of {steps}"
        raise error("E0901", text, help=f"give a longer text, or fewer --steps; {_HELD} sequences are the least")
    numbers = np.searchsorted(letters, data).astype(np.uint8)
    x, y = (numbers[k : k + count * steps].reshape(count, steps) for k in (0, 1))
    held = count // _HELD
    arrays = {"x_train": x[:-held], "y_train": y[:-held], "x_test": x[-held:], "y_test": y[-held:]}
    return Dataset(path.name, arrays, characters=len(letters))


def _from_folder(folder: Path) -> dict[str, NDArray[Any]]:
    found = [_first(folder, names) for names in _FILES]
    if found[0] is None:
        raise error("E0901", f"the folder `{folder}` holds no `{_FILES[0][0]}`, packed or not", help=_CURE)
    present = [(name, path) for name, path in zip(ARRAYS, found, strict=True) if path is not None]
    return {name: read_idx(path) for name, path in present}


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _from_files(names: list[str]) -> dict[str, NDArray[Any]]:
    if len(names) not in (2, 4):
        text = f"{len(names)} IDX files were given"
        raise error("E0901", text, help="give training images, training labels, test images, test labels")
    return {array: read_idx(name.strip()) for array, name in zip(ARRAYS, names, strict=False)}


def missing(dataset: Dataset, name: str) -> PathcError:
    """E0902 for an array that this training needs."""
    text = f"the data `{dataset.name}` has no `{name}`"
    return error("E0902", text, help="add it, or learn to repeat the input with --goal input")
