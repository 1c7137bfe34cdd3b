"""The work of a net that the bench divides by time: edges that several paths share count once."""

from __future__ import annotations

import pytest

from pathc.bench.limits import Work
from pathc.driver import compile_model
from pathc.ir.cost import cost
from pathc.support.source import Source


def made(text: str):
    return compile_model(Source("n.path", f"pathc 1\nmodel n\n{text}"), "reference")


@pytest.mark.parametrize(
    ("cell", "copies", "recurrent"),
    [
        ("lstm", 4, 4 * 2 * 2),
        ("gru", 3, 3 * 2 * 2),
        ("lstm(gates = shared)", 1, 4 * 2 * 2),
        ("lstm(bidirectional = sum)", 8, 8 * 2 * 2),
        ("qrnn(window = 3)", 9, 0),
    ],
)
def test_repeated_edges_of_cells_count_once_for_each_gate(cell: str, copies: int, recurrent: int) -> None:
    """32 paths between two units and two are at most four edges."""
    net = made(f"input x[2]\noutput y[2] : {cell}\npaths p : x -> y {{ count = 32 }}")
    assert Work.of(net) == Work(4 * copies + recurrent, 4 * copies)
    assert cost(net.graph).macs == 32 * copies + recurrent


def test_repeated_edges_of_steps() -> None:
    """Two channels by two, five positions; then four edges and four weights of an rnn at five steps."""
    text = "input x[2, 5]\nlayer h[2] : conv(1) | steps\noutput y[2] : rnn\npaths p : x -> h -> y { count = 32 }"
    assert Work.of(made(text)) == Work(4 * 5 + (4 + 4) * 5, 4 + 4)


def test_tied_edges_have_no_weights_to_take_away() -> None:
    text = (
        "input x[2]\nlayer h[2] : relu\noutput y[2]\n"
        "paths p : x -> h { count = 32 }\npaths q : h -> y { mirror = p, weights = tied }"
    )
    assert Work.of(made(text)) == Work(4 + 4, 4)
