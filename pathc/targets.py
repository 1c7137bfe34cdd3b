"""The target that `-t` names: a backend with options, or a `target` block of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pathc.backends import backend, backend_names
from pathc.backends.base import Backend
from pathc.ir.catalogue import BACKENDS
from pathc.ir.graph import Graph
from pathc.ir.types import Value, Word
from pathc.support.diagnostics import Diagnostic, UnavailableError, UsageError, did_you_mean


@dataclass(frozen=True)
class Target:
    """A backend with its options, as `-t` names it."""

    name: str
    backend: Backend
    options: Mapping[str, Value]


def choose_target(text: str, graph: Graph | None = None) -> Target:
    """The target that `-t` names: `llvm`, `llvm{cpu=avx2,threads=1}`, or a `target` block of the graph.

    Raises UsageError E0806 and E0810; UnavailableError E0811 for a target that does not work here.
    """
    name, options = parse_target(text)
    block = next((t for t in graph.targets if t.name == name), None) if graph is not None else None
    if block is not None:
        name, options = block.backend, {**dict(block.options), **options}
    if name in BACKENDS and name not in backend_names():
        message = f"the target `{name}` is part of the language, but not of this version of pathc"
        raise UnavailableError(Diagnostic("E0811", message, help=f"targets here: {', '.join(backend_names())}"))
    if name not in backend_names():
        known = [*backend_names(), *(t.name for t in graph.targets)] if graph is not None else list(backend_names())
        hint = did_you_mean(name, known) or f"targets: {', '.join(known)}"
        raise UsageError(Diagnostic("E0810", f"there is no target `{name}`", help=hint))
    chosen = backend(name)
    reason = chosen.unavailable()
    if reason:
        raise UnavailableError(Diagnostic("E0811", f"the target `{name}` is not available here", help=reason))
    return Target(text, chosen, options)


def shows(text: str, kind: str) -> bool:
    """Whether a target that `-t` names has a stage of its own of that name; raises UsageError E0806.

    `llvm` has none that others have; it is not imported to find out.
    """
    name, _ = parse_target(text)
    return name != "llvm" and name in backend_names() and kind in backend(name).emits


def parse_target(text: str) -> tuple[str, dict[str, Value]]:
    """Name and options of `name{k=v,...}`; an item without `=` belongs to the value before it (`features=+a,-b`)."""
    name, brace, rest = text.strip().partition("{")
    if not name.strip() or (brace and not rest.endswith("}")):
        raise _target_error(text, "the braces do not match" if brace else "it is empty")
    options: dict[str, str] = {}
    key = ""
    for item in filter(None, (part.strip() for part in rest.removesuffix("}").split(","))):
        before, equals, value = (part.strip() for part in item.partition("="))
        if equals and (not before or not value or before in options):
            raise _target_error(text, f"`{item}` is given twice" if before in options else f"`{item}` is incomplete")
        if not equals and not key:
            raise _target_error(text, f"`{item}` has no value")
        if equals:
            key = before
            options[key] = value
        else:
            options[key] += f",{item}"
    return name.strip(), {key: _target_value(value) for key, value in options.items()}


def _target_error(text: str, reason: str) -> UsageError:
    help = "write `llvm`, `llvm{cpu=avx2,threads=1}` or the name of a target block"
    return UsageError(Diagnostic("E0806", f"the target `{text}` cannot be read: {reason}", help=help))


def _target_value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() and len(text) < 19 else Word(text)
