"""`use "file.path"`: `let`s and targets of other files; and target blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pathc.frontend import ast
from pathc.frontend.draft import Draft
from pathc.frontend.parser import MAX_CHARACTERS, parse, parse_with_faults
from pathc.frontend.scope import Numeric, Scope, evaluate
from pathc.frontend.values import free_value
from pathc.ir.catalogue import BACKENDS
from pathc.ir.graph import Target
from pathc.ir.types import Value
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error
from pathc.support.files import read_bounded
from pathc.support.source import Source

ReadFile = Callable[[str], str]
"""Gives the text of a file of that path."""

_DEEPEST = 32
_MOST_FILES = 256


def read_text(path: str) -> str:
    """The text of a .path file, at most 4 bytes for each of the characters that may be parsed.

    Raises PathcError: E0110 if it is no UTF-8, E0501 if it cannot be read, E0502 if it is too long.
    """
    data = read_bounded(path, 4 * MAX_CHARACTERS)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        message = f"`{path}` is no UTF-8 text: byte {reason.start} is 0x{data[reason.start]:02x}"
        raise error("E0110", message, help="save it as UTF-8") from None


def file_key(name: str) -> str:
    """The same text for all spellings of one path."""
    return os.path.abspath(name)


def use_file(draft: Draft, node: ast.Use, chain: tuple[str, ...], seen: set[str], read_file: ReadFile) -> None:
    """Bring in what a used file declares; raises PathcError E0215 to E0217 and the faults of that file.

    `chain` holds the files being read, outermost first, and `seen` the keys of all files read so far.
    """
    path = _resolve(node.path, chain[-1])
    keys = [file_key(name) for name in chain]
    if file_key(path) in keys:
        circle = [*chain[keys.index(file_key(path)) :], path]
        help = "move what both need into a third file"
        raise error("E0215", f"files use each other: {' -> '.join(circle)}", node.path.span, help=help)
    if file_key(path) in seen:
        return
    if len(chain) > _DEEPEST:
        raise error("E0215", f"more than {_DEEPEST} files use one another", node.path.span)
    seen.add(file_key(path))
    file = parse(Source(path, _read(node.path, path, read_file)))
    for statement in file.statements:
        match statement:
            case ast.Use():
                draft.attempt(lambda s=statement: use_file(draft, s, (*chain, path), seen, read_file))
            case ast.Let():
                define(draft, statement.name, lambda s=statement: evaluate(s.value, draft.scope))
            case ast.Target():
                lower_target(draft, statement)
            case ast.Version():
                continue
            case _:
                help = "a used file brings in `let` and `target` only"
                draft.report("E0217", f"`{path}` declares more than numbers and targets", statement.span, help=help)


def used_files(file: ast.File, read_file: ReadFile = read_text) -> dict[str, ast.File]:
    """The files that a file uses, and those that they use, by resolved path; what cannot be read is left out."""
    found: dict[str, ast.File] = {}
    waiting = [file]
    while waiting and len(found) < _MOST_FILES:
        using = waiting.pop()
        for statement in using.statements:
            if isinstance(statement, ast.Use):
                try:
                    path = _resolve(statement.path, using.source.name)
                    if path not in found:
                        found[path] = parse_with_faults(Source(path, _read(statement.path, path, read_file)))[0]
                        waiting.append(found[path])
                except PathcError:
                    continue
    return found


def used_path(node: ast.Use, using: str) -> str:
    """The path of the file that a `use` in the file `using` names; raises PathcError E0216."""
    return _resolve(node.path, using)


def _resolve(path: ast.Text, using: str) -> str:
    if not path.value or "\0" in path.value:
        raise error("E0216", "this is no name of a file", path.span)
    return os.path.normpath(Path(using).parent / path.value)


def _read(node: ast.Text, path: str, read_file: ReadFile) -> str:
    try:
        return read_file(path)
    except PathcError as mistake:
        reasons = tuple(d.message for d in mistake.diagnostics)
        help = "the path is relative to the file that uses it"
        raise PathcError(Diagnostic("E0216", f"cannot use `{path}`", node.span, notes=reasons, help=help)) from None


def define(draft: Draft, name: ast.Name, value: Callable[[], Numeric]) -> None:
    """Give a name its value, once; reports E0202 and what evaluation raises."""
    scope: Scope = draft.scope
    if name.text in scope.places:
        help = f"the first is in {scope.places[name.text].place}"
        draft.report("E0202", f"a second `let {name.text}`", name.span, help=help)
        return
    scope.places[name.text] = name.span
    number = draft.attempt(value)
    if number is None:
        scope.broken.add(name.text)
    else:
        scope.values[name.text] = number


def lower_target(draft: Draft, node: ast.Target) -> None:
    """Add the target of a statement; reports E0202, E0206, E0235 and faults of its values."""
    backend = node.backend
    if backend.text not in BACKENDS:
        help = did_you_mean(backend.text, BACKENDS) or f"there are: {', '.join(BACKENDS)}"
        draft.report("E0235", f"there is no backend `{backend.text}`", backend.span, help=help)
    options: dict[str, Value] = {}
    for attribute in node.attributes.entries if node.attributes else ():
        value = draft.attempt(lambda a=attribute: free_value(a.value, draft.scope))
        if attribute.name.text in options:
            draft.report("E0206", f"`{attribute.name.text}` is given twice", attribute.name.span)
        elif value is not None:
            options[attribute.name.text] = value
    if node.name.text in draft.targets or node.name.text in BACKENDS:
        taken = "a backend" if node.name.text in BACKENDS else "another target"
        draft.report("E0202", f"`{node.name.text}` is the name of {taken}", node.name.span, help="choose another name")
        return
    draft.targets[node.name.text] = Target(node.name.text, backend.text, tuple(options.items()), node.span.place)
