"""From .path text to the path-graph IR."""
