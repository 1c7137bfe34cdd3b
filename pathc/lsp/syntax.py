"""Syntax files for VS Code and Vim, made from the grammar and the vocabulary."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pathc import __version__
from pathc.frontend import ast
from pathc.ir.catalogue import CATALOGUE
from pathc.ir.types import SCALAR_NAMES
from pathc.support.diagnostics import error

_TERMINAL = re.compile(r"^([A-Z]+): (?:/(.*)/|(\".*\"))$", re.MULTILINE)
_LIBRARY = "vscode-languageclient"
_DATE = (1980, 1, 1, 0, 0, 0)


def terminals() -> dict[str, str]:
    """Regular expressions of the grammar's terminals, by name."""
    grammar = files("pathc.frontend").joinpath("path.lark").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name, pattern, words in _TERMINAL.findall(grammar):
        found[name] = pattern or "|".join(re.escape(word) for word in re.findall(r'"([^"]+)"', words))
    return found


def words() -> list[str]:
    """Words of the vocabulary and the names of types."""
    return sorted({entry.name for entry in CATALOGUE} | set(SCALAR_NAMES))


def text_mate() -> str:
    """The TextMate grammar that VS Code colours by, as JSON."""
    found = terminals()
    number = rf"(?<![A-Za-z_])(?:{found['NUMBER']})(?:[ \t]*(?:{found['UNIT']}|%))?"
    rules: list[dict[str, Any]] = [
        {"name": "comment.line.number-sign.path", "match": "#.*$"},
        {"name": "string.quoted.double.path", "match": found["STRING"]},
        {
            "match": rf"^({'|'.join(ast.KEYWORDS)})\b(?:[ \t]+({found['NAME']}))?",
            "captures": {"1": {"name": "keyword.control.path"}, "2": {"name": "entity.name.type.path"}},
        },
        {"name": "support.function.path", "match": rf"\b(?:{'|'.join(words())})\b"},
        {"name": "constant.numeric.path", "match": number},
        {"name": "keyword.operator.path", "match": r"->|[-+*/=|@:]"},
        {"name": "variable.other.path", "match": found["NAME"]},
    ]
    return _json({"name": "Path", "scopeName": "source.path", "fileTypes": ["path"], "patterns": rules})


def vim() -> str:
    """The syntax file for Vim."""
    keywords = r"\|".join(ast.KEYWORDS)
    return "\n".join(
        (
            '" Vim syntax file for .path models, made from the grammar: do not edit.',
            'if exists("b:current_syntax")',
            "  finish",
            "endif",
            "syntax case match",
            rf"syntax match pathKeyword /^\%({keywords}\)\>/",
            f"syntax keyword pathWord {' '.join(words())}",
            r"syntax match pathNumber /\<\d[0-9A-Za-z_.]*\%(\s*\%([KMG]i\?B\|[kMG]\?Hz\|[mun]\?s\|%\)\)\?/",
            r"syntax match pathOperator /->\|[-+*\/=|@:]/",
            r'syntax region pathString start=/"/ skip=/\\./ end=/"/ oneline',
            "syntax match pathComment /#.*$/",
            "highlight default link pathKeyword Statement",
            "highlight default link pathWord Function",
            "highlight default link pathNumber Number",
            "highlight default link pathOperator Operator",
            "highlight default link pathString String",
            "highlight default link pathComment Comment",
            'let b:current_syntax = "path"',
            "",
        )
    )


def package() -> str:
    """The description of the VS Code extension."""
    language = {
        "id": "path", "aliases": ["Path"], "extensions": [".path"], "configuration": "./language-configuration.json",
    }  # fmt: skip
    grammar = {"language": "path", "scopeName": "source.path", "path": "./path.tmLanguage.json"}
    server = {
        "type": "array", "items": {"type": "string"}, "default": ["pathc", "lsp"],
        "description": "The command that starts the language server.",
    }  # fmt: skip
    settings = {"title": "Path graphs", "properties": {"path.server": server}}
    return _json(
        {
            "name": "path-language",
            "displayName": "Path graphs",
            "description": "The .path language of pathc",
            "version": __version__,
            "publisher": "pathc",
            "license": "MIT",
            "engines": {"vscode": "^1.82.0"},
            "categories": ["Programming Languages"],
            "main": "./client.js",
            "dependencies": {_LIBRARY: "^9.0.1"},
            "contributes": {"languages": [language], "grammars": [grammar], "configuration": settings},
        }
    )


def extension() -> dict[str, str]:
    """Names and texts of the files that the syntax folders hold, `vscode/` and `vim/`."""
    pairs = [["{", "}"], ["[", "]"], ["(", ")"]]
    settings = {"comments": {"lineComment": "#"}, "brackets": pairs, "autoClosingPairs": [*pairs, ['"', '"']]}
    return {
        "vscode/package.json": package(),
        "vscode/client.js": files("pathc.lsp").joinpath("client.js").read_text(encoding="utf-8"),
        "vscode/path.tmLanguage.json": text_mate(),
        "vscode/language-configuration.json": _json(settings),
        "vim/syntax/path.vim": vim(),
        "vim/ftdetect/path.vim": "autocmd BufRead,BufNewFile *.path setfiletype path\n",
    }


def write(folder: Path) -> None:
    """Write the syntax folders."""
    for name, text in extension().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def modules(folder: str | Path) -> dict[str, bytes]:
    """The files of the client library that `npm install` put below a folder, by their paths in the extension.

    Raises PathcError E1213 if the library is not there.
    """
    root = Path(folder)
    if not os.path.isfile(root / "node_modules" / _LIBRARY / "package.json"):
        help = f"run `npm install --omit=dev` in `{folder}`, where editors/vscode/package.json was copied to"
        raise error("E1213", f"`{folder}` has no node_modules/{_LIBRARY}", help=help)
    found = sorted(p for p in (root / "node_modules").rglob("*") if p.is_file() and not p.name.startswith("."))
    return {f"extension/{p.relative_to(root).as_posix()}": p.read_bytes() for p in found}


def vsix(library: Mapping[str, bytes] | None = None) -> bytes:
    """The extension as VS Code installs it: `code --install-extension FILE`; the same bytes every time.

    With the files of `modules` it speaks with the language server, without them it colours texts.
    """
    library = library or {}
    manifest = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">\n'
        f'<Metadata><Identity Language="en-US" Id="path-language" Version="{__version__}" Publisher="pathc"/>\n'
        "<DisplayName>Path graphs</DisplayName><Description>The .path language of pathc</Description></Metadata>\n"
        '<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation><Dependencies/>\n'
        '<Assets><Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json"/></Assets>\n'
        "</PackageManifest>\n"
    )
    endings = {Path(name).suffix[1:] for name in (*library, "package.json", "client.js")} - {""}
    kinds = "".join(
        f'<Default Extension="{escape(e)}" ContentType="application/octet-stream"/>' for e in sorted(endings)
    )
    types = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="vsixmanifest" ContentType="text/xml"/>'
        f"{kinds}</Types>\n"
    )
    parts: dict[str, str | bytes] = {"extension.vsixmanifest": manifest, "[Content_Types].xml": types, **library}
    for name, text in extension().items():
        folder, _, rest = name.partition("/")
        if folder == "vscode":
            parts[f"extension/{rest}"] = text
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text)
    return buffer.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
