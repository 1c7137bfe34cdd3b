"""`pathc lsp` behind a real client: a process, pipes, the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls", reason="the language server needs pygls")

from lsprotocol import types as t
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

URI = "file:///models/m.path"
MODEL = """pathc 1
let P = 64
model m  # \N{GRINNING FACE}

# What comes in.
input  x[64]
layer  a[60] : relu
output y[16]

paths main : x -> a -> y { count = P }
paths back : y -> a -> x { mirror = main }
"""
GOOD = MODEL.replace("paths back : y -> a -> x { mirror = main }\n", "")
BAD = GOOD.replace("relu", "rleu").replace("-> a", "-> A1")


COMMAND = (sys.executable, "-m", "pathc", "lsp", "--stdio")


class Client(LanguageClient):
    """A client that remembers how the server ended."""

    code: int | None = None

    async def server_exit(self, server: asyncio.subprocess.Process) -> None:
        self.code = server.returncode


class Editor:
    """A client with the diagnostics it was told."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.told: list[t.PublishDiagnosticsParams] = []

    async def open(self, text: str) -> list[t.Diagnostic]:
        item = t.TextDocumentItem(URI, "path", len(self.told) + 1, text)
        self.client.text_document_did_open(t.DidOpenTextDocumentParams(item))
        return await self.next(1)

    async def next(self, count: int) -> list[t.Diagnostic]:
        async with asyncio.timeout(30):
            while len(self.told) < count:
                await asyncio.sleep(0.01)
        return list(self.told[-1].diagnostics)

    def where(self, line: int, character: int) -> dict[str, Any]:
        return {"text_document": t.TextDocumentIdentifier(URI), "position": t.Position(line, character)}


def talk(story: Callable[[Editor], Awaitable[None]]) -> None:
    """Start a server, tell a story, stop the server."""

    async def run() -> None:
        client = Client("tests", "1")
        editor = Editor(client)

        @client.feature(t.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def told(params: t.PublishDiagnosticsParams) -> None:
            editor.told.append(params)

        await client.start_io(*COMMAND)
        made = await client.initialize_async(t.InitializeParams(t.ClientCapabilities(), root_uri="file:///models"))
        assert made.server_info is not None
        assert made.server_info.name == "pathc"
        client.initialized(t.InitializedParams())
        await story(editor)
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()
        assert client.code == 0

    asyncio.run(run())


def text_at(text: str, place: t.Range) -> str:
    line = text.split("\n")[place.start.line].encode("utf-16-le")
    assert place.start.line == place.end.line
    return line[2 * place.start.character : 2 * place.end.character].decode("utf-16-le")


def test_mistakes_and_their_cures_as_you_type() -> None:
    async def story(editor: Editor) -> None:
        found = await editor.open(BAD)
        assert {d.code for d in found} >= {"E0201"}
        assert all(d.source == "pathc" for d in found)
        wrong = next(d for d in found if "rleu" in d.message)
        assert text_at(BAD, wrong.range) == "rleu"
        actions = await editor.client.text_document_code_action_async(
            t.CodeActionParams(t.TextDocumentIdentifier(URI), wrong.range, t.CodeActionContext([wrong]))
        )
        assert [a.title for a in actions or ()] == ["replace `rleu` by `relu`"]
        edit = actions[0].edit.changes[URI][0]
        assert (text_at(BAD, edit.range), edit.new_text) == ("rleu", "relu")
        change = t.TextDocumentContentChangeWholeDocument(GOOD)
        version = t.VersionedTextDocumentIdentifier(2, URI)
        editor.client.text_document_did_change(t.DidChangeTextDocumentParams(version, [change]))
        assert [d for d in await editor.next(2) if d.severity == t.DiagnosticSeverity.Error] == []

    talk(story)


def test_hover_tells_facts() -> None:
    async def story(editor: Editor) -> None:
        await editor.open(GOOD)

        async def hover(line: int, character: int) -> str:
            found = await editor.client.text_document_hover_async(t.HoverParams(**editor.where(line, character)))
            return found.contents.value if found else ""

        station = await hover(6, 7)
        assert "**layer `a`**" in station
        assert "fan           in" in station
        assert "64 units would have" in station
        assert "What comes in." in await hover(5, 7)
        assert "max(0, x)" in await hover(6, 17)
        assert "let P = 64" in await hover(9, 35)
        assert "number of paths" in await hover(9, 28)
        assert "visits one unit" in await hover(9, 2)
        assert await hover(3, 0) == ""

    talk(story)


def test_definitions_references_and_names() -> None:
    async def story(editor: Editor) -> None:
        await editor.open(MODEL)
        here = editor.where(9, 18)
        found = await editor.client.text_document_definition_async(t.DefinitionParams(**here))
        assert found.range.start == t.Position(6, 7)
        context = t.ReferenceContext(include_declaration=True)
        places = await editor.client.text_document_references_async(t.ReferenceParams(context=context, **here))
        assert [p.range.start.line for p in places] == [6, 9, 10]
        edit = await editor.client.text_document_rename_async(t.RenameParams(new_name="hidden", **here))
        assert [text_at(MODEL, e.range) for e in edit.changes[URI]] == ["a", "a", "a"]
        mirrored = await editor.client.text_document_definition_async(t.DefinitionParams(**editor.where(10, 37)))
        assert mirrored.range.start == t.Position(9, 6)
        for name in ("x", "layer", "1a", ""):
            with pytest.raises(JsonRpcException, match=r"is (?:taken|no name)"):
                await editor.client.text_document_rename_async(t.RenameParams(new_name=name, **here))
        symbols = await editor.client.text_document_document_symbol_async(
            t.DocumentSymbolParams(t.TextDocumentIdentifier(URI))
        )
        assert [s.name for s in symbols] == ["P", "m", "x", "a", "y", "main", "back"]

    talk(story)


def test_completion_and_layout() -> None:
    typed = MODEL + "pa\nlayer b[2] : re\npaths p : x -> \npaths q : x -> a { co\npaths r : x -> a { sign = "

    async def story(editor: Editor) -> None:
        await editor.open(typed)

        async def complete(line: int) -> set[str]:
            end = t.Position(line, len(typed.split("\n")[line]))
            found = await editor.client.text_document_completion_async(
                t.CompletionParams(t.TextDocumentIdentifier(URI), end)
            )
            return {item.label for item in found}

        assert await complete(11) >= {"paths", "layer", "use"}
        assert await complete(12) >= {"relu", "lstm", "maxpool"}
        assert await complete(13) == {"x", "a", "y", "b"}
        assert await complete(14) >= {"count", "sequence", "sign"}
        assert await complete(15) >= {"hadamard", "P"}
        options = t.FormattingOptions(4, True)
        document = t.TextDocumentIdentifier(URI)
        parameters = t.DocumentFormattingParams(document, options)
        assert not await editor.client.text_document_formatting_async(parameters)
        change = t.TextDocumentContentChangeWholeDocument(GOOD.replace("input  x", "input x"))
        version = t.VersionedTextDocumentIdentifier(9, URI)
        editor.client.text_document_did_change(t.DidChangeTextDocumentParams(version, [change]))
        await editor.next(2)
        (edit,) = await editor.client.text_document_formatting_async(parameters) or ()
        assert "input  x[64]" in edit.new_text

    talk(story)


def message(**content: object) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", **content}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


SHUTDOWN, EXIT = message(id=2, method="shutdown"), message(method="exit")


@pytest.mark.parametrize(("end", "code"), [(SHUTDOWN + EXIT, 0), (EXIT, 1), (b"", 0)], ids=["polite", "exit", "eof"])
def test_how_the_process_ends(end: bytes, code: int, tmp_path: Path) -> None:
    """1 is the protocol's code for `exit` without `shutdown`; no end is a fault of the compiler."""
    start = message(id=1, method="initialize", params={"capabilities": {}, "processId": None, "rootUri": None})
    done = subprocess.run(
        COMMAND, input=start + end, capture_output=True, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (code, "")
    assert b'"capabilities"' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    from pathc.cli import main

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["lsp"]) == 3
    assert "pathc[lsp]" in capsys.readouterr().err
