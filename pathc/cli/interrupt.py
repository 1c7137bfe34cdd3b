"""Whether Ctrl-C was pressed, for libraries that make another error of the interruption."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""
_pressed = threading.Event()


def pressed() -> bool:
    """Whether Ctrl-C was pressed since `noticed` was entered."""
    return _pressed.is_set()


def settle() -> None:
    """Let the process end with an exit code, not by the signal.

    Python remembers that Ctrl-C struck in code made from a string, as dataclasses are, and then kills itself whatever
    became of the exception. The next piece of such code that runs to its end makes it forget.
    """
    from dataclasses import make_dataclass

    make_dataclass("Settled", ())


@contextmanager
def noticed() -> Generator[None]:
    """Remember Ctrl-C and raise KeyboardInterrupt, if that is what it would do anyway."""
    _pressed.clear()
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def press(number: int, frame: FrameType | None) -> None:
        _pressed.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
