"""The system's C compiler, which links shared libraries."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pathc.support.diagnostics import Diagnostic, UnavailableError

INSTALL = "apt-get install gcc libc6-dev"
_NAMES = ("cc", "gcc", "clang")
_SECONDS = 300
_WORDS = 400


def c_compiler() -> str:
    """The C compiler; UnavailableError E0670 where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise UnavailableError(Diagnostic("E0670", "a shared library is linked by a C compiler", help=INSTALL))
    return found


def link(files: Mapping[str, str | bytes], sources: Sequence[str], includes: Sequence[str]) -> bytes:
    """A shared library of C sources among `files`, which is never unloaded: arrays it made may outlive its user.

    Names that it lacks are found when it is loaded. Raises UnavailableError E0670 without a C compiler and its headers.
    """
    compiler = c_compiler()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data.encode() if isinstance(data, str) else data)
        options = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete", "-I."]
        command = [compiler, *options, *(f"-I{path}" for path in includes), *sources, "-o", "net.so", "-ldl"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            text = f"`{compiler}` does not take the host part of a library: {' '.join(said[:1])[:_WORDS]}"
            raise UnavailableError(Diagnostic("E0670", text, help=INSTALL))
        return Path(folder, "net.so").read_bytes()
