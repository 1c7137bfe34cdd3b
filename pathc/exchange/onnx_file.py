"""Reading ONNX files that may be hostile: bounded, checked, no file outside the folder of the model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.support.diagnostics import Diagnostic, PathcError, UnavailableError, error
from pathc.support.files import check_readable, memory_limit, read_bounded

LARGEST_FILE = 1 << 31
"""Bytes of the largest model; protocol buffers hold no more."""


def onnx_package(module: str = "onnx") -> Any:
    """The package `onnx` or one of its modules; UnavailableError E1105 where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        text = "reading and writing ONNX needs the package `onnx`"
        raise UnavailableError(Diagnostic("E1105", text, help="pip install 'pathc[onnx]'")) from None


def read_model(path: str | Path) -> Any:
    """The checked model of an `.onnx` file, external tensors not yet read.

    Raises PathcError: E0501 unreadable, E0502 too large, E1101 damaged; UnavailableError E1105.
    """
    onnx = onnx_package()
    data = read_bounded(path, min(LARGEST_FILE, memory_limit()))
    try:
        model = onnx.load_model_from_string(data)
        if not model.graph.node:
            raise ValueError("it has no nodes")
        for tensor in model.graph.initializer:
            if tensor.data_location == tensor.EXTERNAL:
                _outside_file(tensor, Path(path).parent)
        onnx.checker.check_model(str(path), full_check=False)
    except PathcError:
        raise
    except Exception as reason:
        # The decoder and the checker raise errors of many libraries, all of which mean the same here.
        first = (str(reason).splitlines() or [type(reason).__name__])[0]
        raise error("E1101", f"`{path}` is no sound ONNX model: {first}", help="export it again") from reason
    return model


def tensor_array(tensor: Any, folder: Path) -> NDArray[Any]:
    """The values of an initializer, from the model or from a file in its folder.

    Raises PathcError: E0502 too large, E1101 damaged, E1103 for a file outside the folder.
    """
    helper = onnx_package("onnx.numpy_helper")
    shape = [int(n) for n in tensor.dims]
    if any(n < 0 for n in shape) or 8 * int(np.prod([float(n) for n in shape])) > memory_limit():
        raise error("E0502", f"tensor `{tensor.name}` of shape {shape} does not fit into the memory")
    if tensor.data_location == tensor.EXTERNAL:
        return _external(tensor, folder, shape)
    try:
        return np.asarray(helper.to_array(tensor))
    except Exception as reason:
        raise error("E1101", f"tensor `{tensor.name}` is damaged: {reason}", help="export it again") from reason


def _outside_file(tensor: Any, folder: Path) -> Path:
    """The file beside the model that holds a tensor; E1103 if it lies elsewhere."""
    location = next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "")
    file, root = (folder / location).resolve(), folder.resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(root):
        text = f"tensor `{tensor.name}` lies in `{location}`, outside the folder of the model"
        raise error("E1103", text, help="put all files of the model into one folder")
    return file


def _external(tensor: Any, folder: Path, shape: list[int]) -> NDArray[Any]:
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    file = _outside_file(tensor, folder)
    dtype = np.dtype(onnx_package("onnx.helper").tensor_dtype_to_np_dtype(tensor.data_type))
    size = check_readable(file)
    offset = entries.get("offset", "0")
    count = int(np.prod(shape, dtype=np.int64))
    if not offset.isdecimal() or int(offset) + count * dtype.itemsize > size:
        text = f"tensor `{tensor.name}` reaches beyond the end of `{file.name}`"
        raise error("E1101", text, help="export it again")
    return np.fromfile(file, dtype=dtype, count=count, offset=int(offset)).reshape(shape)
