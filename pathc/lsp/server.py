"""The language server: requests of the Language Server Protocol, answered by `Document`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from pathc import __version__
from pathc.lsp.document import Document
from pathc.lsp.fixes import Fix
from pathc.support.diagnostics import Diagnostic, PathcError, Severity
from pathc.support.source import Span

if TYPE_CHECKING:
    from pygls.workspace import TextDocument

_SEVERITY = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.NOTE: types.DiagnosticSeverity.Information,
}
_SYMBOLS = {
    "station": types.SymbolKind.Class,
    "line": types.SymbolKind.Function,
    "let": types.SymbolKind.Constant,
    "target": types.SymbolKind.Object,
    "model": types.SymbolKind.Module,
}
_COMPLETIONS = {
    "keyword": types.CompletionItemKind.Keyword,
    "station": types.CompletionItemKind.Class,
    "line": types.CompletionItemKind.Function,
    "let": types.CompletionItemKind.Constant,
    "attribute": types.CompletionItemKind.Property,
    "word": types.CompletionItemKind.Value,
}


class PathServer(LanguageServer):
    """The server with the documents it has looked at, the newest version of each."""

    seen: dict[str, tuple[int | None, Document]]
    asked_to_stop: bool
    """Whether the editor sent `shutdown`, as it must before it says `exit`."""
    exit_code: int
    """0, or 1 after an `exit` that no `shutdown` came before, as the protocol has it."""

    def of(self, uri: str) -> tuple[TextDocument, Document]:
        """The text that the editor shows, and what is known about it."""
        text = self.workspace.get_text_document(uri)
        version, document = self.seen.get(uri, (None, None))
        if document is None or version != text.version or document.source.text != text.source:
            document = Document(to_fs_path(uri) or uri, text.source)
            self.seen[uri] = (text.version, document)
        return text, document


def serve() -> int:
    """Serve over standard input and output until the editor says `exit`; returns the exit code of the protocol.

    The server closes the stream it writes to, which therefore is a copy: standard output stays open.
    """
    server = make_server()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        server.start_io(stdout=out)
    return server.exit_code


def make_server() -> PathServer:
    """A server that knows all requests."""
    server = PathServer("pathc", __version__)
    server.seen = {}
    server.asked_to_stop = False
    server.exit_code = 0

    def publish(uri: str) -> None:
        text, document = server.of(uri)
        found = [_diagnostic(text, document, one) for one in document.diagnostics]
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, text.version))

    @server.feature(types.SHUTDOWN)
    def stop(params: None) -> None:
        server.asked_to_stop = True

    @server.feature(types.EXIT)
    def leave(params: None) -> None:
        server.exit_code = 0 if server.asked_to_stop else 1

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.seen.pop(params.text_document.uri, None)
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(params.text_document.uri, []))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        text, document = server.of(params.text_document.uri)
        found = document.hover(text.offset_at_position(params.position))
        if found is None:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, found[1]), _range(text, found[0]))

    @server.feature(types.TEXT_DOCUMENT_COMPLETION)
    def complete(params: types.CompletionParams) -> list[types.CompletionItem]:
        text, document = server.of(params.text_document.uri)
        found = document.completions(text.offset_at_position(params.position))
        return [types.CompletionItem(c.text, kind=_COMPLETIONS[c.kind], documentation=c.doc) for c in found]

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def define(params: types.DefinitionParams) -> types.Location | None:
        text, document = server.of(params.text_document.uri)
        span = document.definition(text.offset_at_position(params.position))
        if span is None:
            return None
        if span.source == document.source:
            return types.Location(params.text_document.uri, _range(text, span))
        uri = from_fs_path(os.path.abspath(span.source.name)) or ""
        return types.Location(uri, _range(server.workspace.get_text_document(uri), span))

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def refer(params: types.ReferenceParams) -> list[types.Location]:
        text, document = server.of(params.text_document.uri)
        spans = document.references(text.offset_at_position(params.position))
        return [types.Location(params.text_document.uri, _range(text, span)) for span in spans]

    @server.feature(types.TEXT_DOCUMENT_RENAME)
    def rename(params: types.RenameParams) -> types.WorkspaceEdit:
        text, document = server.of(params.text_document.uri)
        try:
            spans = document.rename(text.offset_at_position(params.position), params.new_name)
        except PathcError as refusal:
            raise JsonRpcInvalidParams(refusal.diagnostics[0].message) from None
        edits = [types.TextEdit(_range(text, span), params.new_name) for span in spans]
        return types.WorkspaceEdit({params.text_document.uri: edits})

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def lay_out(params: types.DocumentFormattingParams) -> list[types.TextEdit]:
        text, document = server.of(params.text_document.uri)
        new = document.formatted()
        if new is None or new == document.source.text:
            return []
        return [types.TextEdit(_range(text, document.source.span(0, len(document.source.text))), new)]

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        text, document = server.of(params.text_document.uri)
        places = [(one, _range(text, one.span)) for one in document.symbols()]
        return [types.DocumentSymbol(one.name, _SYMBOLS[one.kind], place, place) for one, place in places]

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions([types.CodeActionKind.QuickFix]),
    )
    def fix(params: types.CodeActionParams) -> list[types.CodeAction]:
        text, document = server.of(params.text_document.uri)
        found = [(one, _range(text, one.span)) for one in document.fixes()]
        wanted = params.range
        return [
            _action(params.text_document.uri, one, place, _diagnostic(text, document, one.diagnostic))
            for one, place in found
            if _key(place.start) <= _key(wanted.end) and _key(wanted.start) <= _key(place.end)
        ]

    return server


def _action(uri: str, fix: Fix, place: types.Range, diagnostic: types.Diagnostic) -> types.CodeAction:
    edit = types.WorkspaceEdit({uri: [types.TextEdit(place, fix.text)]})
    return types.CodeAction(fix.title, types.CodeActionKind.QuickFix, [diagnostic], is_preferred=True, edit=edit)


def _diagnostic(text: TextDocument, document: Document, one: Diagnostic) -> types.Diagnostic:
    notes = "".join(f"\nnote: {note}" for note in one.notes)
    message = one.message + notes + (f"\nhelp: {one.help}" if one.help else "")
    place = _range(text, document.span_of(one))
    return types.Diagnostic(place, message, _SEVERITY[one.severity], code=one.code, source="pathc")


def _range(text: TextDocument, span: Span) -> types.Range:
    return types.Range(text.client_position_at_offset(span.start), text.client_position_at_offset(span.end))


def _key(position: types.Position) -> tuple[int, int]:
    return position.line, position.character
