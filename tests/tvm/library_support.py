"""Libraries for GPUs in files, called in a process whose libcuda executes kernels on the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STREAM = 0x77


def write(folder, executable):
    for kind in ("so", *executable.companions("so")):
        data = executable.emit(kind)
        (folder / f"net.{kind}").write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / "net.so"


def call(folder, fake, **settings):
    """What `on_fake_gpu.py` says, run with this driver (or with none)."""
    environment = {name: text for name, text in os.environ.items() if name != "LD_LIBRARY_PATH"}
    environment |= {"FAKE_KERNELS": str(folder / "kernels.so"), **{name: str(n) for name, n in settings.items()}}
    if fake:
        environment["LD_LIBRARY_PATH"] = str(fake)
    command = [sys.executable, str(HERE / "on_fake_gpu.py"), str(folder), str(STREAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
