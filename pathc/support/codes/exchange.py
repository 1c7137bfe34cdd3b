"""Codes E11xx, models of other tools."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E1101",
        "a damaged ONNX file or none at all",
        "The file is cut off, is no ONNX model, or contradicts itself: a tensor whose bytes do not fit its shape, a "
        "node that reads what nobody writes. Export it again.",
    ),
    Code(
        "E1102",
        "operators that cannot be brought in",
        "All operators of the model that have no counterpart here are listed at once. Known are Gemm, MatMul, Add, "
        "BatchNormalization behind a linear layer, Relu, LeakyRelu, Abs, Tanh, Sigmoid, Clip, Softmax, Flatten, "
        "Reshape to rows, Dropout, Identity, and RNN, LSTM and GRU of which all steps are read.",
    ),
    Code(
        "E1103",
        "weights outside the folder of the model",
        "An ONNX file may keep weights in other files. These are read only from the folder of the model or below, "
        "never through absolute paths, `..` or links that lead out.",
    ),
    Code(
        "E1104",
        "a graph that ONNX cannot hold",
        "The exporter writes stations of one extent with bias and activations; kwinners and "
        "convolutions have no form there yet, nor have the cells ligru, qrnn and sru and cells that keep their state.",
    ),
    Code(
        "E1106",
        "a state dictionary that is no chain of layers",
        "A state dictionary holds tensors, not what connects them. Linear layers, batch norms behind them and "
        "recurrent cells are brought in as a chain, in the order of their names; each must take what the one before it "
        "hands on. Other nets come in as ONNX, which says how they are connected.",
    ),
    Code(
        "E1107",
        "an output that would replace what is read",
        "Graphs, weights and units of paths are written beside each other under one name, with the suffixes .pir, "
        ".safetensors and .npz. One of them is a file that is read.",
    ),
    Code(
        "E1105",
        "a package is missing",
        "Reading and writing ONNX needs the package `onnx`: pip install 'pathc[onnx]'.",
    ),
)
