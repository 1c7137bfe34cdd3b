"""Passes over the graph: Graph -> Graph, pure, each a frozen dataclass of its options."""
