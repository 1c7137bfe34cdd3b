"""Flat nets with normalizations and equations on the CPU: folded and unrolled, they mean what they mean."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import inputs_of, net, weights_of
from test_filter_kernels import assert_right, compiled

from pathc.support.diagnostics import PathcError

NETS = {
    "norms": """
input x[48]
layer a[32] : bias | batchnorm | relu { pad = none }
layer b[20] : batchnorm(eps = 0.1) | tanh
output y[8] : bias | batchnorm | softmax
paths p : x -> a -> b -> y { count = 256 }
dense q : x -> b
""",
    "silent": """
input x[12] { pad = pow2 }
layer a[24] : batchnorm | relu { pad = pow2 }
output y[3] : bias
paths p : x -> a { count = 128 }
dense q : a -> y
""",
    "equation": """
input x[16]
layer h[16] : bias | tanh | ode(solver = rk4, step = 0.2, steps = 3) | relu
layer g[16] : bias | batchnorm | ode(solver = rk2, step = 0.5, steps = 2)
output y[4] : softmax
paths h : x -> h -> g -> y { count = 64 }
skip s : x -> h { scale = -1 }
""",
    "mirror": """
input x[16]
layer h[16] : tanh | ode(step = 0.3, steps = 2)
output y[16]
paths p : x -> h { count = 64 }
paths m : h -> y { mirror = p, weights = tied }
""",
    "norms that weights behind them take": """
input x[12] : batchnorm { pad = pow2 }
layer a[20] : bias | relu | batchnorm { pad = pow2 }
layer d[20] : tanh { pad = pow2 }
layer b[20] : batchnorm(eps = 0.1) { pad = pow2 }
layer c[8] : bias | batchnorm | tanh
output y[4] : bias
output z[3]
paths p : x -> a -> d { count = 128 }
skip s : d -> b
paths q : b -> c { count = 64, scale = 0.5 }
dense r : b -> y
dense t : c -> y
dense u : x -> z { scale = 2 }
""",
    "behind filters": """
input x[4, 6x6]
layer c[8] : conv(3x3) | relu | avgpool(global)
layer h[8] : bias | batchnorm | relu
layer g[8] : tanh | ode(solver = rk4, step = 0.1, steps = 2)
output y[3] : softmax
paths p : x -> c -> h -> g { count = 64 }
dense q : g -> y
""",
}


@pytest.mark.parametrize("cpu", ["native", "avx2"])
@pytest.mark.parametrize("name", NETS)
def test_flat_stages(name, cpu) -> None:
    graph = net(NETS[name])
    for batch in (1, 5, 64):
        assert_right(graph, weights_of(graph), inputs_of(graph, batch), cpu)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("input x[4]\nlayer h[4] : relu | batchnorm | tanh\noutput y[2]\ndense p : x -> h -> y", "behind `relu`"),
        ("input x[4]\nlayer h[4] : batchnorm | tanh\noutput y[2]\ndense p : x -> h -> y\nskip s : x -> h", "a skip"),
        ("input x[4]\nlayer h[4] : relu | batchnorm\noutput y[4]\ndense p : x -> h -> y\nskip s : h -> y", "`relu`"),
        ("input x[4] : batchnorm | tanh\noutput y[2]\ndense p : x -> y", "without weights"),
        (
            "input x[4]\nlayer h[4] : batchnorm\noutput y[4]\npaths p : x -> h { count = 8 }\n"
            "paths m : h -> y { mirror = p, weights = tied }",
            "share",
        ),
        ("input x[4]\nlayer h[8] : concat\noutput y[2]\nskip s : x -> h\nskip t : x -> h\ndense p : h -> y", "concat"),
    ],
)
def test_what_cannot_be_folded(text, why) -> None:
    graph = net(text)
    with pytest.raises(PathcError, match=why) as refused:
        compiled(graph, {name: np.float32(w) for name, w in weights_of(graph).items()})
    assert {d.code for d in refused.value.diagnostics} == {"E0379"}


def test_expanders_through_an_equation_cannot_be_cut() -> None:
    graph = net("""
input x[8]
layer h[8] : tanh | ode(step = 0.5)
output y[8]
paths p : x -> h -> y { count = 16, sequence = expander }
""")
    with pytest.raises(PathcError, match="E0377"):
        compiled(graph, {name: np.float32(w) for name, w in weights_of(graph).items()})
