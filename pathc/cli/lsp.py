"""`pathc lsp`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stdio", action="store_true", help="serve over standard input and output (always so)")
    parser.add_argument("--vsix", metavar="FILE", help="write the extension for VS Code instead")
    parser.add_argument(
        "--modules", metavar="FOLDER", default="", help="pack the client library that `npm install` put into a folder"
    )


def _run(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from pathc.support.diagnostics import Diagnostic, UnavailableError

    if arguments.vsix is not None:
        from pathc.lsp.syntax import modules, vsix
        from pathc.support.files import write_atomically

        write_atomically(arguments.vsix, vsix(modules(arguments.modules) if arguments.modules else None))
        return 0
    if find_spec("pygls") is None:
        text = "the language server needs the library `pygls`"
        raise UnavailableError(Diagnostic("E1212", text, help="pip install 'pathc[lsp]'"))
    from pathc.lsp.server import serve

    return serve()


VERB = Verb("lsp", "serve editors", "Serve an editor: the Language Server Protocol over stdio.", _arguments, _run)
