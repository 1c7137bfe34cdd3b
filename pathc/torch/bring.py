"""From a PyTorch module to a graph and its weights."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from pathc.exchange.onnx_import import import_onnx
from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, UnavailableError, error


def from_module(module: torch.nn.Module, example: torch.Tensor) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """Graph and weights of a trained module, through PyTorch's own ONNX exporter.

    `example` is an input of any batch, [batch, units], or [batch, steps, units] for recurrent modules. The module is
    exported as it computes in evaluation mode and is not changed. Raises PathcError E1102 with all operators without a
    counterpart, or where PyTorch cannot export the module; UnavailableError E1105 without the packages `onnx` and
    `onnxscript`.
    """
    training = module.training
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # What the exporter says of its own future is not for those who bring a net in.
            warnings.simplefilter("ignore")
            file = Path(folder) / "module.onnx"
            torch.onnx.export(module.eval(), (example,), str(file), dynamo=True, verbose=False)
            return import_onnx(file)
    except ImportError as reason:
        text = f"bringing a module in needs the package `{reason.name or 'onnxscript'}`"
        raise UnavailableError(Diagnostic("E1105", text, help="pip install onnx onnxscript")) from reason
    except torch.onnx.OnnxExporterError as reason:
        first = str(reason).splitlines()[0]
        raise error("E1102", f"PyTorch cannot export the module: {first}", help="simplify the module") from reason
    finally:
        module.train(training)
