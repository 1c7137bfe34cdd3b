"""A tracker and servers of TVM's RPC on loopback, each in a session of processes of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("tornado", "psutil", "cloudpickle")
"""What a tracker and a server need besides TVM."""
_SECONDS = 120
_BOUND = re.compile(r"bind to 127\.0\.0\.1:(\d+)")


def missing() -> str:
    absent = [name for name in NEEDED if find_spec(name) is None]
    return f"needs {', '.join(absent)}: pip install 'pathc[rpc]'" if absent else ""


class Machine:
    """A running tracker or server; `port` is where it listens."""

    def __init__(self, what: str, first: int, *arguments: str) -> None:
        command = [sys.executable, "-u", "-m", f"tvm.exec.{what}", "--host", "127.0.0.1"]
        command += ["--port", str(first), "--port-end", "9199", *arguments]
        with tempfile.NamedTemporaryFile("w+") as said:
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=said.file, start_new_session=True
            )
            bound, text, end = None, "", time.monotonic() + _SECONDS
            while bound is None and self._process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
                text = Path(said.name).read_text()
                bound = _BOUND.search(text)
        if bound is None:
            self.stop()
            raise AssertionError(f"{what} does not start: {text}")
        self.port = int(bound[1])

    def stop(self) -> None:
        """End it and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def tracker() -> Machine:
    return Machine("rpc_tracker", 9130)


def server(tracker: int, key: str) -> Machine:
    """A device `key` of the tracker at a port."""
    return Machine("rpc_server", 9020, "--tracker", f"127.0.0.1:{tracker}", "--key", key)
