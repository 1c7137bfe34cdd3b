"""`fmt`: one layout for every program. Keeps comments, blank lines between statements, and the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from pathc.frontend import ast
from pathc.frontend.parser import parse
from pathc.frontend.spelling import block_of, spell_block, spell_entries, spell_head, spell_visit
from pathc.support.source import Source

WIDTH = 100
"""Columns a statement may take before its attributes or its chain are broken into lines."""


@dataclass
class _Item:
    """A statement or a comment line on its way to text."""

    first_line: int
    last_line: int
    statement: ast.Statement | None = None
    parts: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list[str])
    trailing: str = ""


def format_source(source: Source) -> str:
    """The text in its one layout; applying it twice changes nothing. Raises PathcError (E01xx)."""
    return format_file(parse(source))


def format_file(file: ast.File) -> str:
    """The text of a parsed file, comments included, ending in a newline unless it is empty."""
    items = _items(file)
    for group in _groups(items):
        _align(group)
    _align_comments(items)
    out: list[str] = []
    previous: _Item | None = None
    for item in items:
        if previous is not None and item.first_line > previous.last_line + 1:
            out.append("")
        out.extend(item.lines)
        previous = item
    return "\n".join(out) + "\n" if out else ""


def format_statements(statements: Sequence[ast.Statement]) -> str:
    """The text of statements that were never read from one: a blank line between those of different kind."""
    items: list[_Item] = []
    line = 0
    previous: ast.Statement | None = None
    for statement in statements:
        line += 1 if previous is None or _kind(previous) == _kind(statement) else 2
        for comment in statement.doc.split("\n") if statement.doc else ():
            items.append(_Item(line, line, lines=[f"# {comment}".rstrip()]))
            line += 1
        items.append(_Item(line, line, statement, spell_head(statement)))
        previous = statement
    for group in _groups(items):
        _align(group)
    out: list[str] = []
    for before, item in zip_longest([None, *items[:-1]], items):
        if before is not None and item is not None and item.first_line > before.last_line + 1:
            out.append("")
        out.extend(item.lines if item is not None else ())
    return "\n".join(out) + "\n" if out else ""


def _kind(statement: ast.Statement) -> str:
    if isinstance(statement, ast.Version | ast.Use | ast.Let | ast.Model):
        return "head"
    return type(statement).__name__


def _items(file: ast.File) -> list[_Item]:
    """Statements and comment lines in order; comments inside and behind statements go with them."""
    source = file.source
    items: list[_Item] = []
    comments = list(reversed(file.comments))
    for statement in file.statements:
        while comments and comments[-1].span.start < statement.span.start:
            items.append(_comment_item(source, comments.pop()))
        inner: list[ast.Comment] = []
        while comments and comments[-1].span.start < statement.span.end:
            inner.append(comments.pop())
        first, last = source.position(statement.span.start)[0], source.position(statement.span.end)[0]
        item = _Item(first, last, statement, spell_head(statement))
        if comments and not comments[-1].own_line and comments[-1].span.place.line == last:
            item.trailing = comments.pop().text
        if inner:
            item.lines = _with_comments(statement, inner)
        items.append(item)
    items.extend(_comment_item(source, comment) for comment in reversed(comments))
    return items


def _comment_item(source: Source, comment: ast.Comment) -> _Item:
    line = source.position(comment.span.start)[0]
    return _Item(line, line, lines=[comment.text])


def _with_comments(statement: ast.Statement, comments: list[ast.Comment]) -> list[str]:
    """A statement with comments inside: in its attribute block they keep their place, elsewhere all lines do."""
    block = block_of(statement)
    if block is None or comments[0].span.start < block.span.start or not _block_is_simple(block, comments):
        return [line.rstrip() for line in statement.span.text.split("\n")]
    lines = [f"{_one_line(spell_head(statement))} {{"]
    remaining = list(reversed(comments))
    for entry, (name, value) in zip(block.entries, spell_entries(block.entries), strict=True):
        while remaining and remaining[-1].span.start < entry.span.start:
            _place_comment(lines, remaining.pop())
        lines.append(f"  {name} = {value}")
    for comment in reversed(remaining):
        _place_comment(lines, comment)
    return [*lines, "}"]


def _place_comment(lines: list[str], comment: ast.Comment) -> None:
    if comment.own_line:
        lines.append(f"  {comment.text}")
    else:
        lines[-1] = f"{lines[-1]}  {comment.text}"


def _block_is_simple(block: ast.Attributes, comments: list[ast.Comment]) -> bool:
    """True if every attribute has its own lines and no comment stands inside one."""
    ends = [entry.span.source.position(entry.span.end)[0] for entry in block.entries]
    starts = [entry.span.place.line for entry in block.entries]
    apart = all(end < start for end, start in zip([block.span.place.line, *ends], starts, strict=False))
    inside = any(e.span.start < c.span.start < e.span.end for e in block.entries for c in comments)
    return apart and not inside


def _groups(items: list[_Item]) -> list[list[_Item]]:
    """Runs of statements of one kind without a blank line between them."""
    groups: list[list[_Item]] = []
    previous: _Item | None = None
    for item in items:
        near = previous is not None and item.first_line <= previous.last_line + 1
        if item.statement is not None:
            last = groups[-1][-1].statement if groups and near else None
            if last is not None and type(last) is type(item.statement):
                groups[-1].append(item)
            else:
                groups.append([item])
        previous = item
    return groups


def _align(group: list[_Item]) -> None:
    """Give the items of a group their lines, parts below each other."""
    widths: list[int] = []
    for position in range(max(len(item.parts) for item in group)):
        having = [item.parts[position] for item in group if len(item.parts) > position + 1]
        widths.append(max((len(part) for part in having), default=0))
    for item in group:
        if item.lines:
            continue
        padded = [part.ljust(width) for part, width in zip(item.parts[:-1], widths, strict=False)]
        item.lines = _layout(item, " ".join([*padded, item.parts[-1]]))


def _one_line(parts: tuple[str, ...]) -> str:
    return " ".join(parts)


def _layout(item: _Item, head: str) -> list[str]:
    """The lines of a statement without inner comments."""
    statement = item.statement
    assert statement is not None
    block = block_of(statement)
    broken = block is not None and "\n" in block.span.text and bool(block.entries)
    if block is not None and not broken:
        tail = f" {spell_block(block)}"
        short_tail = isinstance(statement, ast.Line) and len(head) > WIDTH and len(tail) <= WIDTH // 2
        if len(head) + len(tail) <= WIDTH or short_tail or not block.entries:
            return _fit_chain(statement, head + tail, head, tail)
    if block is None:
        return _fit_chain(statement, head, head, "")
    body = [f"  {name} = {value}" for name, value in spell_entries(block.entries)]
    return [*_fit_chain(statement, f"{head} {{", head, " {"), *body, "}"]


def _fit_chain(statement: ast.Statement, whole: str, head: str, tail: str) -> list[str]:
    """One line, or several for a long chain."""
    if len(whole) <= WIDTH or not isinstance(statement, ast.Line) or len(statement.visits) < 2:
        return [whole]
    first, *rest = map(spell_visit, statement.visits)
    lines = [head[: head.index(" : ") + 3] + first]
    indent = " " * head.index(" : ")
    for position, visit in enumerate(rest, 1):
        room = WIDTH - (len(tail) if position == len(rest) else 0)
        step = f" -> {visit}"
        if len(lines[-1]) + len(step) <= room:
            lines[-1] += step
        else:
            lines.append(indent + step)
    return [*lines[:-1], lines[-1] + tail]


def _align_comments(items: list[_Item]) -> None:
    """Set trailing comments below each other where the statements touch."""
    run: list[_Item] = []
    previous: _Item | None = None
    for item in [*items, None]:
        touches = item is not None and previous is not None and item.first_line <= previous.last_line + 1
        if not touches or item is None or item.statement is None or len(item.lines) != 1:
            _set_comments(run)
            run = []
        if item is not None and item.statement is not None:
            run.append(item)
            if len(item.lines) != 1:
                _set_comments(run)
                run = []
        previous = item


def _set_comments(run: list[_Item]) -> None:
    commented = [item for item in run if item.trailing]
    column = max((len(item.lines[-1]) for item in run), default=0) if len(commented) > 1 else 0
    for item in commented:
        item.lines[-1] = f"{item.lines[-1].ljust(column)}  {item.trailing}"
        item.trailing = ""
