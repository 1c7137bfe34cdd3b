"""What `pathc explain` knows: codes, words of the language, passes, targets, kernel forms."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from pathc.backends import backend, backend_names
from pathc.ir.catalogue import CATALOGUE, Entry, Option, find
from pathc.ir.passes import NAMES, load
from pathc.ir.types import show_value
from pathc.support.codes import catalogue
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean

_WIDTH = 100


def explain(topic: str) -> str:
    """The text behind a topic; an empty one lists the topics. Raises UsageError E0805."""
    if not topic:
        return f"pathc explain TOPIC, with a code (E0203), a word of the language (sobol), or {_listed(TOPICS)}\n"
    if topic in TOPICS:
        return TOPICS[topic]()
    code = catalogue().get(topic.upper())
    if code is not None:
        example = f"\n\n{textwrap.indent(code.example.rstrip(), '    ')}" if code.example else ""
        return f"{code.name}: {code.title}\n\n{_wrapped(code.explanation)}{example}\n"
    if topic in NAMES:
        return _pass_text(_pass(topic))
    entry = find(topic)
    if entry is not None:
        return _entry_text(entry)
    if topic in backend_names():
        return _target_text(next(entry for entry in targets() if entry["name"] == topic))
    if topic in form_names():
        return _form_text(topic)
    known = [*TOPICS, *catalogue(), *NAMES, *backend_names(), *form_names(), *(e.name for e in CATALOGUE)]
    help = did_you_mean(topic, known) or f"topics: {_listed(TOPICS)}"
    raise UsageError(Diagnostic("E0805", f"there is nothing to explain under `{topic}`", help=help))


def passes() -> list[dict[str, Any]]:
    """Name, summary, documentation and options (name, default) of every pass."""
    return [_pass(name) for name in NAMES]


def passes_text() -> str:
    """All passes for people."""
    return "\n".join(_pass_text(entry) for entry in passes())


def targets() -> list[dict[str, Any]]:
    """Name, summary, stages and availability (`unavailable` says why not) of every target."""
    found: list[dict[str, Any]] = []
    for name in backend_names():
        one = backend(name)
        found.append({"name": name, "summary": one.summary, "emits": list(one.emits), "unavailable": one.unavailable()})
    return found


def targets_text() -> str:
    """All targets for people."""
    return "".join(map(_target_text, targets()))


def _target_text(entry: dict[str, Any]) -> str:
    lines = [f"{entry['name']:12} {entry['summary']}", f"{'':12} shows {', '.join(entry['emits'])}"]
    if entry["unavailable"]:
        lines.append(f"{'':12} not available here: {entry['unavailable']}")
    return "\n".join(lines) + "\n"


def _pass(name: str) -> dict[str, Any]:
    cls = load(name)
    summary, _, rest = (cls.__doc__ or "").strip().partition("\n")
    options = {field.name: field.default for field in dataclasses.fields(cls)}
    return {"name": name, "summary": summary, "doc": " ".join(rest.split()), "options": options}


def _pass_text(entry: dict[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in entry["options"].items())
    head = entry["name"] + (f"{{{options}}}" if options else "")
    return f"{head}\n{textwrap.indent(_wrapped(entry['summary'] + ' ' + entry['doc']), '    ')}\n"


def _codes_text() -> str:
    return "".join(f"{code.name}  {code.title}\n" for code in catalogue().values())


def _words_text() -> str:
    lines: list[str] = []
    for kind in dict.fromkeys(entry.kind for entry in CATALOGUE):
        lines.append(f"{kind}:")
        lines += [f"  {entry.name:14} {entry.doc}" for entry in CATALOGUE if entry.kind == kind]
    return "\n".join(lines) + "\n"


def form_names() -> tuple[str, ...]:
    """Names of the kernel forms that `--form` takes."""
    from pathc.backends.llvm import forms

    return forms.form_names()


def _forms_text() -> str:
    lines = [f"{name:18} {_form_doc(name)[0]}" for name in form_names()]
    return "\n".join(lines) + "\n"


def _form_text(name: str) -> str:
    summary, rest = _form_doc(name)
    return f"{name}\n{textwrap.indent(_wrapped(f'{summary} {rest}'), '    ')}\n"


def _form_doc(name: str) -> tuple[str, str]:
    from pathc.backends.llvm.forms import form

    one = form(name)
    summary, _, rest = (type(one).__doc__ or "").strip().partition("\n")
    return f"{one.family:7} {summary}", " ".join(rest.split())


def _entry_text(entry: Entry) -> str:
    lines = [f"{entry.name} ({entry.kind}): {entry.doc}"]
    lines += [f"  {_option_text(option)}" for option in entry.options]
    return "\n".join(lines) + "\n"


def _option_text(option: Option) -> str:
    default = "required" if option.default is None else f"default {show_value(option.default)}"
    choices = f"; one of {', '.join(option.choices)}" if option.choices else ""
    return f"{option.name}: {option.doc} ({default}{choices})"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _listed(words: Sequence[str] | dict[str, Any]) -> str:
    return ", ".join(words)


TOPICS: dict[str, Callable[[], str]] = {
    "codes": _codes_text,
    "forms": _forms_text,
    "passes": passes_text,
    "targets": targets_text,
    "words": _words_text,
}
"""Topics that list things."""
