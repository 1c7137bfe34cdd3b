"""Small kernels in LLVM IR for testing the runtime."""

from __future__ import annotations

SCALE = """
define void @scale(ptr %x, ptr %y, ptr %params, ptr %scratch, i64 %batch, i64 %xs, i64 %ys) nounwind {
entry:
  %none = icmp eq i64 %batch, 0
  br i1 %none, label %end, label %loop
loop:
  %b = phi i64 [ 0, %entry ], [ %n, %loop ]
  %xo = mul i64 %b, %xs
  %yo = mul i64 %b, %ys
  %xp = getelementptr float, ptr %x, i64 %xo
  %yp = getelementptr float, ptr %y, i64 %yo
  %v = load <16 x float>, ptr %xp, align 4
  %w = load <16 x float>, ptr %params, align 64
  %m = fmul <16 x float> %v, %w
  store <16 x float> %m, ptr %scratch, align 64
  %r = load <16 x float>, ptr %scratch, align 64
  store <16 x float> %r, ptr %yp, align 4
  %n = add i64 %b, 1
  %more = icmp ult i64 %n, %batch
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""
"""y[b] = x[b] * params for 16 units, through scratch so that threads sharing it would show."""
