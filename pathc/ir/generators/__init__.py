"""Ways to draw paths; each maps (visit, path index) to a unit."""
