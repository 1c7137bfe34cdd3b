"""Targets: what a path graph is compiled to."""
