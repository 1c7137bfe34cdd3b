"""The form in which an area declares its diagnostic codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A diagnostic code: its name (`E0203`, `W0301`), a title, and why it is said and how it is cured.

    `example` is a short `.path` or `.pir` text that provokes it, empty where none fits.
    """

    name: str
    title: str
    explanation: str
    example: str = ""
