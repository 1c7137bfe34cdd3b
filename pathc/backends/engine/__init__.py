"""The path engine: banked memories, lanes and in-order units that run instruction streams made from path graphs."""
