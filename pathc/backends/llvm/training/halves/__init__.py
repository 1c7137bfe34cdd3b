"""Training with factors of bfloat16: products in tile registers forwards, backwards and for gradients of weights."""
