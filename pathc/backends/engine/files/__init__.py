"""Programs outside the compiler: the object file, and assembly."""

from __future__ import annotations

from pathc.backends.engine.files.assembly import assemble, disassemble, listing
from pathc.backends.engine.files.objects import from_bytes, read_program, to_bytes

__all__ = ["assemble", "disassemble", "from_bytes", "listing", "read_program", "to_bytes"]
