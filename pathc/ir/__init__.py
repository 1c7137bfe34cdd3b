"""The path-graph IR: graph, facts, generators, passes, text and meaning."""
