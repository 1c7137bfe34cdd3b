"""Analyses and transformations of graphs, one file a pass; looked up by name, loaded when used."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module
from typing import Any, ClassVar, Protocol

from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean

_PASSES = {
    "canonical": ("canonical", "Canonical"),
    "prernn": ("prernn", "Prernn"),
    "maxpool-to-relu": ("rectify", "Rectify"),
    "structure": ("structure", "Structure"),
    "coalesce": ("coalesce", "Coalesce"),
    "bicliques": ("bicliques", "Bicliques"),
    "coverage": ("coverage", "Coverage"),
    "mixing": ("mixing", "Mixing"),
    "bank": ("bank", "Bank"),
    "interleave": ("interleave", "Interleave"),
}
NAMES = tuple(_PASSES)
"""Names of all passes, in the order a pipeline would run them."""


class Pass(Protocol):
    """A frozen dataclass whose fields are its options; calling it gives the graph with something found or changed."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __call__(self, graph: Graph) -> Graph:
        """The new graph; the old one is not touched."""
        ...


def load(name: str) -> type[Any]:
    """The pass of that name; E0320 if there is none."""
    if name not in _PASSES:
        hint = did_you_mean(name, NAMES) or f"passes: {', '.join(NAMES)}"
        raise _usage("E0320", f"there is no pass `{name}`", hint)
    module, cls = _PASSES[name]
    return getattr(import_module(f"pathc.ir.passes.{module}"), cls)


def registry() -> dict[str, type[Any]]:
    """All passes by name."""
    return {name: load(name) for name in NAMES}


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes that `structure,bicliques{limit=1000}` spells; E0320 to E0323 if one is misspelt."""
    passes: list[Pass] = []
    rest = text.strip()
    while rest:
        match = re.match(r"([A-Za-z0-9_-]+)\s*(?:\{([^{}]*)\})?\s*(,|$)\s*", rest)
        if not match or (match[3] and match.end() == len(rest)):
            raise _usage("E0323", f"cannot read the pipeline at `{rest}`", "write passes as `name` or `name{k=v,...}`")
        cls = load(match[1])
        passes.append(cls(**_options(cls, match[2] or "")))
        rest = rest[match.end() :]
    return tuple(passes)


def spell(step: Pass) -> str:
    """The pass as `parse_pipeline` reads it, options that differ from their defaults included."""
    fields = dataclasses.fields(step)
    options = [f"{f.name}={_show(value)}" for f in fields if (value := getattr(step, f.name)) != f.default]
    return f"{step.name}{{{','.join(options)}}}" if options else step.name


def _options(cls: type[Any], text: str) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    options: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            raise _usage("E0323", f"option `{part}` of pass `{cls.name}` has no value", "write options as `{k=v}`")
        if key not in fields:
            known = f"its options: {', '.join(fields)}" if fields else "it has none"
            raise _usage("E0321", f"pass `{cls.name}` has no option `{key}`", did_you_mean(key, fields) or known)
        options[key] = _convert(cls.name, key, value, fields[key].default)
    return options


def _convert(owner: str, key: str, value: str, default: object) -> Any:
    kind: type[Any] = type(default)
    if kind is bool:
        if value in ("true", "false"):
            return value == "true"
        raise _usage("E0322", f"option `{key}` of pass `{owner}` is {value!r}", "it is true or false")
    wrong = f"option `{key}` of pass `{owner}` is {value!r}"
    try:
        converted = kind(value)
    except ValueError:
        raise _usage("E0322", wrong, f"it takes a value like {kind.__name__}") from None
    if kind is int and converted < 0:
        raise _usage("E0322", wrong, "it takes a number from 0 on")
    return converted


def _show(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _usage(code: str, message: str, help: str) -> UsageError:
    return UsageError(Diagnostic(code, message, help=help))
