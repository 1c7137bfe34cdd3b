"""Functions of outputs that are given as sums: float32, in CUDA text, on the `own` outputs of one sample."""

from __future__ import annotations

from pathc.backends.tvm.tensorcore import activated
from pathc.ir.catalogue import options_of
from pathc.ir.types import Call


def applied(stage: Call, real: int) -> list[str]:
    """A stage on the `real` numbers of a sample."""
    if stage.name == "softmax":
        return _softmax(real)
    if stage.name == "kwinners":
        k = options_of(stage)["k"]
        assert isinstance(k, int)
        return _largest(real, k)
    return [f"  for (int u = 0; u < {real}; u++) {{ const float v = own[u]; own[u] = {activated(stage)}; }}"]


def _softmax(real: int) -> list[str]:
    return [
        "  {",
        "    float most = own[0], total = 0.0f;",
        f"    for (int u = 1; u < {real}; u++) most = own[u] > most ? own[u] : most;",
        f"    for (int u = 0; u < {real}; u++) total += own[u] = expf(own[u] - most);",
        f"    for (int u = 0; u < {real}; u++) own[u] = own[u] / total;",
        "  }",
    ]


def _largest(real: int, k: int) -> list[str]:
    """All but the k largest become zero, one size after the other from the largest down; lower units first."""
    return [
        "  {",
        f"    float limit = CUDART_INF_F; int left = {min(k, real)};",
        "    for (;;) {",
        "      float most = -CUDART_INF_F; int count = 0;",
        f"      for (int u = 0; u < {real}; u++)",
        "        if (own[u] < limit && own[u] >= most) { count = own[u] > most ? 1 : count + 1; most = own[u]; }",
        "      limit = most;",
        "      if (count >= left || count == 0) break;",
        "      left -= count;",
        "    }",
        f"    for (int u = 0; u < {real}; u++)",
        "      if (own[u] < limit || (own[u] == limit && left-- <= 0)) own[u] = 0.0f;",
        "  }",
    ]
