"""The file that a fault of the compiler leaves behind: all that is needed to see it again."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from pathc import __version__

_SUFFIXES = (".path", ".pir")
_LONGEST = 1 << 20


def report(arguments: Sequence[str], fault: BaseException) -> str:
    """Write command, versions, sources and traceback to a new file; returns a sentence that says where it is."""
    parts = [
        f"pathc {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"$ pathc {shlex.join(arguments)}",
        "".join(traceback.format_exception(fault)),
        *(f"--- {name}\n{_text(Path(name))}" for name in arguments if name.endswith(_SUFFIXES)),
    ]
    try:
        handle, name = tempfile.mkstemp(prefix="pathc-crash-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n\n".join(parts))
    except OSError as reason:
        print("\n\n".join(parts), file=sys.stderr)
        return f"no file could be written ({reason.strerror}), so all of it stands above"
    return f"command, model and traceback are in {name}"


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as file:
            return file.read(_LONGEST)
    except (OSError, ValueError) as reason:
        return f"(cannot be read: {reason})"
