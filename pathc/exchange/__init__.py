"""Nets brought in from other tools and handed out to them; needs the extra `pathc[onnx]`."""
