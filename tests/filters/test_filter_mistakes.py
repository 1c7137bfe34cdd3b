"""Nets with extents that do not meet: diagnostics with the place, never a traceback."""

from __future__ import annotations

import pytest
from filter_nets import net

from pathc.support.diagnostics import PathcError

MISTAKES = {
    "paths into groups": "input x[4, 5x5]\noutput y[4] : conv(3x3, groups = 2)\npaths p : x -> y { count = 8 }",
    "groups": "input x[4, 5x5]\noutput y[6] : conv(3x3, groups = 4)\ndense p : x -> y",
    "two norms": "input x[4]\noutput y[4] : batchnorm | relu | batchnorm\ndense p : x -> y",
    "concat of a line": "input x[4]\noutput y[4] : concat\ndense p : x -> y",
    "concat too few": "input x[4]\noutput y[9] : concat\nskip p : x -> y\nskip q : x -> y",
    "two beginnings": (
        "input x[4]\ninput z[4]\nlayer h[4] : relu | ode(step = 0.1)\noutput y[4]\n"
        "dense p : x -> h -> y\ndense q : z -> h"
    ),
    "another shape": "input x[4]\nlayer h[5] : relu | ode(step = 0.1)\noutput y[4]\ndense p : x -> h -> y",
    "pool in equation": (
        "input x[4, 4x4]\nlayer h[4] : conv(3x3, pad = same) | maxpool(1) | ode(step = 0.1)\noutput y[4]\n"
        "dense p : x -> h -> y"
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_meet(name) -> None:
    with pytest.raises(PathcError) as refused:
        net(MISTAKES[name])
    assert {d.code for d in refused.value.diagnostics} == {"E0315"}
    assert all(d.place is not None for d in refused.value.diagnostics)
