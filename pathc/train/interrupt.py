"""Ctrl-C as a wish to stop: the step under way is finished, a checkpoint written, and the command ends with 130."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Flag:
    """Whether the user wants to stop; calling it asks."""

    def __init__(self) -> None:
        self.set = False

    def __call__(self) -> bool:
        """True after the first Ctrl-C."""
        return self.set


@contextmanager
def interruptible() -> Generator[Flag]:
    """A flag that Ctrl-C and SIGTERM set; a second one interrupts at once. Outside the main thread it stays unset."""
    flag = Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def wish(number: int, frame: FrameType | None) -> None:
        if flag.set:
            raise KeyboardInterrupt
        flag.set = True

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
