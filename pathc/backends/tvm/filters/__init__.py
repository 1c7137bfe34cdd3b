"""Nets with extents through TVM: convolutions whose channels paths choose, pools, and what belongs to them."""
