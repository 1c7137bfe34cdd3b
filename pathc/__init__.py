"""pathc compiles path graphs: sparse networks whose paths each visit one neuron in every layer."""

from __future__ import annotations

__version__ = "0.1.0"
